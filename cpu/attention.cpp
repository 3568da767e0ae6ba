#include "cpu/attention.h"

#include "cpu/attention_kernels.h"
#include "cpu/kernels.h"
#include "cpu/kv_rows.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cfloat>
#include <cmath>

namespace greenroom::cpu {
namespace {

// Positions whose weighted sum is formed by itself, by whichever thread, before sums are merged in the order
// of positions. A whole number of blocks; so few that the second-level cache holds their rows of all heads.
constexpr std::int64_t kSegmentPositions = 256;

// Partial sums of full tiles that a thread's scratch has room for.
constexpr std::int64_t kPartials = 4;

constexpr std::int64_t round_up(std::int64_t n, std::int64_t to) noexcept { return (n + to - 1) / to * to; }

// Decoded rows are apart by an odd number of cache lines: the same columns of all rows fit into the
// first-level cache at once.
constexpr std::int64_t row_stride(std::int64_t n_values) noexcept { return round_up(n_values, 32) + 16; }

constexpr std::int64_t key_floats(std::int64_t n_values) noexcept {
    return round_up(n_values, 4) * kBlockPositions;
}

constexpr std::int64_t partial_floats(std::int64_t n_queries, std::int64_t n_values) noexcept {
    return round_up(n_queries * (2 + round_up(n_values, kValueStep)), 16);
}

constexpr std::int64_t kScoreFloats = kTileQueries * kBlockPositions;

// The part of the cached rows that one head reads, from a byte offset on.
class HeadRows {
  public:
    HeadRows(const KvRows& rows, std::int64_t first_value, std::int64_t n_values)
        : rows_(&rows),
          decode_(find_kv_decoder(rows.type)),
          offset_(quant::row_bytes(rows.type, first_value)),
          n_values_(n_values) {}

    std::int64_t n_values() const noexcept { return n_values_; }

    // Rows of positions first, first + 1, … or of listed[first], …, `stride` floats apart in out.
    void decode(const std::int32_t* listed, std::int64_t first, int n, float* out,
                std::int64_t stride) const noexcept {
        if (listed != nullptr) {
            for (int r = 0; r < n; ++r)
                decode_(rows_->row(listed[first + r]) + offset_, out + r * stride, n_values_);
            return;
        }
        // Without the division of row(), which takes as long as decoding a short row.
        std::int64_t row = first % rows_->n_rows;
        for (int r = 0; r < n; ++r) {
            decode_(rows_->data + row * rows_->row_bytes + offset_, out + r * stride, n_values_);
            if (++row == rows_->n_rows) row = 0;
        }
    }

    // The lines of the same rows.
    void add_lines(const std::int32_t* listed, std::int64_t first, std::int64_t last,
                   LinesAhead& ahead) const noexcept {
        if (first >= last) return;
        const std::int64_t n_bytes = quant::row_bytes(rows_->type, n_values_);
        std::int64_t row = first % rows_->n_rows;
        for (std::int64_t i = first; i < last; ++i) {
            const std::byte* data =
                listed != nullptr ? rows_->row(listed[i]) : rows_->data + row * rows_->row_bytes;
            ahead.add(data + offset_, n_bytes);
            if (++row == rows_->n_rows) row = 0;
        }
    }

  private:
    const KvRows* rows_;
    quant::DecodeFn decode_;
    std::int64_t offset_;
    std::int64_t n_values_;
};

// One head of one token, which sees the rows [first, last) of those that are offered.
struct Query {
    const float* values;
    float* result;
    const float* sink;  // or nullptr
    std::int64_t first;
    std::int64_t last;
};

// Queries that read the same cached rows are done together, so that a block of rows is decoded once for all
// of them. Row i is that of position i, or of listed[i]. Queries that see the same rows are neighbours.
struct Tile {
    HeadRows keys;
    HeadRows values;
    bool keys_are_values;  // the first values of a key are its value
    const std::int32_t* listed;
    int n_queries;
    std::array<Query, kTileQueries> queries;
    std::int64_t first;  // of all queries
    std::int64_t last;
};

// Σ e^(score - maximum) · value and Σ e^(score - maximum) of each query of a tile, over some of the rows.
struct Partial {
    float* results;
    std::int64_t stride;  // of results
    float* maximums;
    float* sums;

    Partial(float* memory, std::int64_t n_queries, std::int64_t n_values) noexcept
        : results(memory),
          stride(round_up(n_values, kValueStep)),
          maximums(memory + n_queries * stride),
          sums(maximums + n_queries) {}

    // Of no rows at all. The lowest number instead of -∞, of which differences are no numbers.
    void clear(int n_queries) const noexcept {
        std::fill_n(maximums, n_queries, -FLT_MAX);
        std::fill_n(sums, n_queries, 0.0F);
        std::fill_n(results, n_queries * stride, 0.0F);
    }
};

// What a thread works in.
struct Workspace {
    float* keys;
    float* rows;
    float* scores;
    float* partials;

    Workspace(float* memory, std::int64_t max_row) noexcept
        : keys(memory),
          rows(keys + key_floats(max_row)),
          scores(rows + kBlockPositions * row_stride(max_row)),
          partials(scores + kScoreFloats) {}
};

// The rows [first, last) of a block, counted from its beginning, as keys. Rows that are values too are left
// where accumulate() is to find them; others are decoded to one place, which stays in the first-level cache.
void load_keys(const AttentionKernels& k, const Tile& tile, std::int64_t block, BlockRange rows,
               const Workspace& work, std::int64_t stride) noexcept {
    const std::int64_t n_values = tile.keys.n_values();
    for (int group = rows.first / kPackedRows * kPackedRows; group < rows.last; group += kPackedRows) {
        const int begin = std::max(group, rows.first);
        const int n = std::min(group + kPackedRows, rows.last) - begin;
        float* decoded = work.rows + (tile.keys_are_values ? group * stride : 0);
        tile.keys.decode(tile.listed, block + begin, n, decoded + (begin - group) * stride, stride);
        k.pack_keys(work.keys + group, decoded, stride, n_values);
    }
}

// partial = the rows [first, last), within one segment; rows up to `next` are wanted afterwards.
void attend(const AttentionKernels& k, const Tile& tile, std::int64_t first, std::int64_t last,
            std::int64_t next, float scale, const Workspace& work, const Partial& partial) noexcept {
    partial.clear(tile.n_queries);
    const std::int64_t stride = row_stride(std::max(tile.keys.n_values(), tile.values.n_values()));
    LinesAhead ahead;
    std::array<const float*, kTileQueries> queries;
    for (int j = 0; j < tile.n_queries; ++j)
        queries[static_cast<std::size_t>(j)] = tile.queries[static_cast<std::size_t>(j)].values;
    // Blocks begin at multiples of their size whatever the tile sees, and each query takes its part of them.
    for (std::int64_t block = first / kBlockPositions * kBlockPositions; block < last;
         block += kBlockPositions) {
        const auto seen = [&](std::int64_t from, std::int64_t to) {
            return BlockRange{
                static_cast<int>(std::clamp<std::int64_t>(std::max(from, first) - block, 0, kBlockPositions)),
                static_cast<int>(std::clamp<std::int64_t>(std::min(to, last) - block, 0, kBlockPositions))};
        };
        std::array<BlockRange, kTileQueries + 1> ranges;  // one more, which ends the last run
        for (int j = 0; j < tile.n_queries; ++j) {
            const Query& query = tile.queries[static_cast<std::size_t>(j)];
            ranges[static_cast<std::size_t>(j)] = seen(query.first, query.last);
        }
        const BlockRange rows = seen(first, last);
        const std::int64_t ahead_first = block + kBlockPositions;
        const std::int64_t ahead_last = std::min(ahead_first + kBlockPositions, next);
        ahead.clear();
        tile.keys.add_lines(tile.listed, ahead_first, ahead_last, ahead);
        if (!tile.keys_are_values) tile.values.add_lines(tile.listed, ahead_first, ahead_last, ahead);
        ahead.finish();
        load_keys(k, tile, block, rows, work, stride);
        k.score(work.scores, queries.data(), tile.n_queries, work.keys, tile.keys.n_values(), ahead);
        std::array<float, kTileQueries> factors;
        k.weigh(work.scores, ranges.data(), tile.n_queries, scale, partial.maximums, partial.sums,
                factors.data());
        if (!tile.keys_are_values)
            tile.values.decode(tile.listed, block + rows.first, rows.last - rows.first,
                               work.rows + rows.first * stride, stride);
        // Queries that see the same of the block. Those that do not see a row are kept from it, instead of
        // adding it with the weight 0: it may hold an infinity.
        for (int j = 0; j < tile.n_queries;) {
            const int run = j;
            const BlockRange range = ranges[static_cast<std::size_t>(run)];
            while (j < tile.n_queries && ranges[static_cast<std::size_t>(j)] == range) ++j;
            if (range.empty()) continue;
            k.accumulate(partial.results + run * partial.stride, partial.stride,
                         &factors[static_cast<std::size_t>(run)], j - run,
                         work.scores + run * kBlockPositions, work.rows, stride, range,
                         tile.values.n_values(), ahead);
        }
    }
}

// total ← total and part, of later rows.
void merge(const AttentionKernels& k, int n_queries, const Partial& total, const Partial& part,
           std::int64_t n_values) noexcept {
    LinesAhead none;
    none.finish();
    for (int j = 0; j < n_queries; ++j) {
        if (part.maximums[j] == -FLT_MAX && part.sums[j] == 0.0F) continue;  // saw none of them
        const float maximum = std::max(total.maximums[j], part.maximums[j]);
        const float of_total = std::exp(total.maximums[j] - maximum);
        const float of_part = std::exp(part.maximums[j] - maximum);
        total.maximums[j] = maximum;
        total.sums[j] = total.sums[j] * of_total + part.sums[j] * of_part;
        k.accumulate(total.results + j * total.stride, total.stride, &of_total, 1, &of_part,
                     part.results + j * part.stride, part.stride, {0, 1}, n_values, none);
    }
}

// Divides by the sums, to which sinks are added.
void finish(const Tile& tile, const Partial& total) noexcept {
    for (int j = 0; j < tile.n_queries; ++j) {
        const Query& query = tile.queries[static_cast<std::size_t>(j)];
        double numerator = 1;
        auto denominator = static_cast<double>(total.sums[j]);
        if (query.sink != nullptr) {
            const double maximum = std::max(total.maximums[j], *query.sink);
            numerator = std::exp(static_cast<double>(total.maximums[j]) - maximum);
            denominator = denominator * numerator + std::exp(static_cast<double>(*query.sink) - maximum);
        }
        const auto factor = static_cast<float>(numerator / denominator);
        const float* sum = total.results + j * total.stride;
        for (std::int64_t i = 0; i < tile.values.n_values(); ++i) query.result[i] = sum[i] * factor;
    }
}

// What there is to do: tiles of up to n_queries queries, which fill(tile number) gives, over rows of which
// [first, last) are seen by any of them.
struct Work {
    std::int64_t n_tiles;
    std::int64_t n_queries;
    std::int64_t first;
    std::int64_t last;
    std::int64_t key_dim;
    std::int64_t value_dim;
    float scale;
};

// Many tiles are shared out as they are. Of few tiles, or tiles of few queries, segments are: a thread does
// all tiles of a segment, whose rows lie next to each other, and as many segments are done at once as there
// is memory for their sums. Either way the segments of a query are formed alike and merged in their order.
template <class Fill>
void run(ThreadTeam& team, const Scratch& scratch, const Work& work, const Fill& fill) {
    if (work.n_tiles == 0) return;
    const AttentionKernels& k = attention_kernels(kernels().isa);
    const std::int64_t max_row = std::max(work.key_dim, work.value_dim);
    assert(scratch.floats_per_thread() >= attention_scratch_floats(max_row));
    const std::int64_t n_tiles = work.n_tiles;
    const std::int64_t n_threads = team.n_active();
    const auto workspace = [&](std::int64_t thread) {
        return Workspace(scratch.of(static_cast<int>(thread)), max_row);
    };
    const std::int64_t size = partial_floats(work.n_queries, work.value_dim);
    const std::int64_t n_partials = kPartials * partial_floats(kTileQueries, max_row) / size;  // of a thread
    const auto partial = [&](std::int64_t i) {
        return Partial(workspace(i / n_partials).partials + i % n_partials * size, work.n_queries,
                       work.value_dim);
    };
    const auto attend_segment = [&](const Tile& tile, std::int64_t segment, std::int64_t next, int thread,
                                    const Partial& to) {
        attend(k, tile, std::max(tile.first, segment), std::min(tile.last, segment + kSegmentPositions),
               std::min(tile.last, next), work.scale, workspace(thread), to);
    };
    const std::int64_t first_segment = work.first / kSegmentPositions * kSegmentPositions;
    // The first n_tiles partial sums are the totals.
    const std::int64_t n_at_once = (n_partials * n_threads - n_tiles) / n_tiles;

    if (work.last - first_segment <= kSegmentPositions ||
        (n_tiles >= 2 * n_threads && n_at_once < 2 * n_threads)) {
        // Later tokens see more: their tiles are begun first, so that the threads end together.
        team.parallel_for(n_tiles, 1, [&](std::int64_t item, std::int64_t, int thread) noexcept {
            const Tile tile = fill(n_tiles - 1 - item);
            const Partial total = partial(n_partials * thread);
            const Partial part = partial(n_partials * thread + 1);
            total.clear(tile.n_queries);
            for (std::int64_t segment = tile.first / kSegmentPositions * kSegmentPositions;
                 segment < tile.last; segment += kSegmentPositions) {
                attend_segment(tile, segment, tile.last, thread, part);
                merge(k, tile.n_queries, total, part, work.value_dim);
            }
            finish(tile, total);
        });
        return;
    }

    for (std::int64_t begin = first_segment; begin < work.last; begin += n_at_once * kSegmentPositions) {
        const std::int64_t n_segments =
            std::min(n_at_once, (work.last - begin + kSegmentPositions - 1) / kSegmentPositions);
        const std::int64_t grain = std::clamp<std::int64_t>(n_segments * n_tiles / n_threads, 1, n_tiles);
        team.parallel_for(n_segments * n_tiles, grain,
                          [&](std::int64_t from, std::int64_t to, int thread) noexcept {
                              for (std::int64_t item = from; item < to; ++item) {
                                  const std::int64_t segment = begin + item / n_tiles * kSegmentPositions;
                                  attend_segment(fill(item % n_tiles), segment, segment + kSegmentPositions,
                                                 thread, partial(n_tiles + item));
                              }
                          });
        team.parallel_for(n_tiles, 1, [&](std::int64_t item, std::int64_t, int) noexcept {
            const Tile tile = fill(item);
            const Partial total = partial(item);
            if (begin == first_segment) total.clear(tile.n_queries);
            for (std::int64_t s = 0; s < n_segments; ++s)
                merge(k, tile.n_queries, total, partial(n_tiles + s * n_tiles + item), work.value_dim);
            if (begin + n_segments * kSegmentPositions >= work.last) finish(tile, total);
        });
    }
}

std::int64_t n_groups(std::int64_t n, std::int64_t group) noexcept { return (n + group - 1) / group; }

}  // namespace

std::int64_t attention_scratch_floats(std::int64_t max_row) noexcept {
    return key_floats(max_row) + kBlockPositions * row_stride(max_row) + kScoreFloats +
           kPartials * partial_floats(kTileQueries, max_row);
}

void mla_attention(ThreadTeam& team, const Scratch& scratch, MatrixView out, ConstMatrixView q,
                   const KvRows& cache, std::int64_t first_position, const MlaShape& shape,
                   std::span<const std::int32_t> visible, std::int64_t n_visible) {
    assert(q.n_cols == shape.n_heads * shape.row_dim() && out.n_cols == shape.n_heads * shape.latent_dim);
    assert(cache.n_values == shape.row_dim());
    assert(static_cast<std::int64_t>(visible.size()) == n_visible * q.n_rows);
    // The heads of the first token, of the second, …; those of a token alone where each has rows of its own.
    const std::int64_t n_heads = shape.n_heads;
    const std::int64_t n_together = visible.empty() ? q.n_rows * n_heads : n_heads;
    const std::int64_t groups = n_groups(n_together, kTileQueries);
    const auto fill = [&](std::int64_t item) noexcept {
        const std::int64_t first_query =
            visible.empty() ? item * kTileQueries : item / groups * n_heads + item % groups * kTileQueries;
        const std::int64_t end = visible.empty() ? q.n_rows * n_heads : (item / groups + 1) * n_heads;
        const std::int32_t* listed =
            visible.empty() ? nullptr : visible.data() + first_query / n_heads * n_visible;
        Tile tile{HeadRows(cache, 0, shape.row_dim()),
                  HeadRows(cache, 0, shape.latent_dim),
                  true,
                  listed,
                  static_cast<int>(std::min<std::int64_t>(kTileQueries, end - first_query)),
                  {},
                  0,
                  0};
        for (int j = 0; j < tile.n_queries; ++j) {
            const std::int64_t t = (first_query + j) / n_heads;
            const std::int64_t head = (first_query + j) % n_heads;
            const std::int64_t n_seen = listed == nullptr
                                            ? first_position + t + 1
                                            : std::find(listed, listed + n_visible, -1) - listed;
            tile.queries[static_cast<std::size_t>(j)] = {
                q.row(t) + head * shape.row_dim(), out.row(t) + head * shape.latent_dim, nullptr, 0, n_seen};
            tile.last = n_seen;
        }
        return tile;
    };
    const std::int64_t last = visible.empty() ? first_position + q.n_rows : n_visible;
    run(team, scratch,
        {visible.empty() ? groups : q.n_rows * groups, std::min<std::int64_t>(kTileQueries, n_together), 0,
         last, shape.row_dim(), shape.latent_dim, shape.scale},
        fill);
}

void gqa_attention(ThreadTeam& team, const Scratch& scratch, MatrixView out, ConstMatrixView q,
                   const KvRows& keys, const KvRows& values, std::int64_t first_position,
                   const GqaShape& shape, std::span<const float> sinks) {
    assert(q.n_cols == shape.n_heads * shape.head_dim && out.n_cols == shape.n_heads * shape.value_dim);
    assert(keys.n_values == shape.key_cols() && values.n_values == shape.value_cols());
    assert(sinks.empty() || static_cast<int>(sinks.size()) == shape.n_heads);
    // The queries of a kv head: its heads of the first token, of the second, …
    const std::int64_t heads_per_kv = shape.n_heads / shape.n_kv_heads;
    const std::int64_t n_queries = q.n_rows * heads_per_kv;
    const std::int64_t groups = n_groups(n_queries, kTileQueries);
    const auto fill = [&](std::int64_t item) noexcept {
        // Neighbours in the order of tiles read neighbouring parts of the same rows.
        const std::int64_t kv_head = item % shape.n_kv_heads;
        const std::int64_t first_query = item / shape.n_kv_heads * kTileQueries;
        Tile tile{HeadRows(keys, kv_head * shape.head_dim, shape.head_dim),
                  HeadRows(values, kv_head * shape.value_dim, shape.value_dim),
                  false,
                  nullptr,
                  static_cast<int>(std::min<std::int64_t>(kTileQueries, n_queries - first_query)),
                  {},
                  0,
                  0};
        for (int j = 0; j < tile.n_queries; ++j) {
            const std::int64_t t = (first_query + j) / heads_per_kv;
            const std::int64_t head = kv_head * heads_per_kv + (first_query + j) % heads_per_kv;
            const std::int64_t position = first_position + t;
            tile.queries[static_cast<std::size_t>(j)] = {
                q.row(t) + head * shape.head_dim, out.row(t) + head * shape.value_dim,
                sinks.empty() ? nullptr : &sinks[static_cast<std::size_t>(head)],
                shape.first_visible(position), position + 1};
        }
        // Later tokens see neither earlier beginnings nor earlier ends.
        tile.first = tile.queries[0].first;
        tile.last = tile.queries[static_cast<std::size_t>(tile.n_queries - 1)].last;
        return tile;
    };
    run(team, scratch,
        {shape.n_kv_heads * groups, std::min<std::int64_t>(kTileQueries, n_queries),
         shape.first_visible(first_position), first_position + q.n_rows, shape.head_dim, shape.value_dim,
         shape.scale},
        fill);
}

}  // namespace greenroom::cpu
