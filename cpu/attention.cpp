#include "cpu/attention.h"

#include "cpu/attention_kernels.h"
#include "cpu/attention_tile.h"
#include "cpu/kernels.h"

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

// Partial sums, and queries as integers, of full tiles that a thread's scratch has room for: the sums so many
// that two threads take 32 queries through 16384 positions at once.
constexpr std::int64_t kPartials = 17;
constexpr std::int64_t kQuantTiles = 2;

constexpr std::int64_t block_floats(std::int64_t n_queries, std::int64_t n_values) noexcept {
    return n_queries * activation_blocks(n_values) *
           static_cast<std::int64_t>(sizeof(ActivationBlock) / sizeof(float));
}

// The scratch of a thread.
struct Workspace {
    TileMemory tile;
    float* blocks;
    float* partials;

    Workspace(float* memory, std::int64_t max_row) noexcept
        : tile(memory, max_row),
          blocks(memory + TileMemory::floats(max_row)),
          partials(blocks + block_floats(kQuantTiles * kTileQueries, max_row)) {}
};

// total ← total and part, of later rows.
void merge(const AttentionKernels& k, int n_queries, const Partial& total, const Partial& part,
           std::int64_t n_values) noexcept {
    LinesAhead none;
    for (int j = 0; j < n_queries; ++j) {
        if (part.maximums[j] == -FLT_MAX && part.sums[j] == 0.0F) continue;  // saw none of them
        const float difference = total.maximums[j] - part.maximums[j];
        const float of_total = difference >= 0 ? 1.0F : std::exp(difference);
        const float of_part = difference >= 0 ? std::exp(-difference) : 1.0F;
        total.maximums[j] = std::max(total.maximums[j], part.maximums[j]);
        total.sums[j] = total.sums[j] * of_total + part.sums[j] * of_part;
        k.accumulate(total.results + j * total.stride, total.stride, &of_total, 1, &of_part,
                     part.results + j * part.stride, part.stride, {0, 1}, n_values, none);
    }
}

// Divides by the sums, to which sinks are added.
void finish(const Tile& tile, const Partial& total) noexcept {
    for (int j = 0; j < tile.n_queries; ++j) {
        const Query& query = tile.queries[j];
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

// What there is to do: tiles of up to n_queries queries over rows of which [first, last) are seen by any of
// them. fill(tile number, room for its queries) gives a tile.
struct Work {
    std::int64_t n_tiles;
    std::int64_t n_queries;
    bool one_token;  // whose tiles all see the same rows
    std::int64_t first;
    std::int64_t last;
    std::int64_t key_dim;
    std::int64_t value_dim;
    float scale;
};

std::int64_t segment_of(std::int64_t position) noexcept {
    return position / kSegmentPositions * kSegmentPositions;
}

template <class Fill>
class Run {
  public:
    Run(ThreadTeam& team, const Scratch& scratch, const Work& work, const Fill& fill)
        : team_(team),
          scratch_(scratch),
          work_(work),
          fill_(fill),
          n_threads_(team.n_active()),
          max_row_(std::max(work.key_dim, work.value_dim)),
          partial_floats_(Partial::floats(work.n_queries, work.value_dim)),
          n_partials_(kPartials * Partial::floats(kTileQueries, max_row_) / partial_floats_),
          n_quant_tiles_(kQuantTiles * kTileQueries / work.n_queries) {
        assert(scratch.floats_per_thread() >= attention_scratch_floats(max_row_));
    }

    // Many tiles are shared out as they are. Of few tiles, or tiles of few queries, segments are, as many at
    // once as there is memory for their sums. Either way the segments of a query are formed alike and merged
    // in their order.
    void operator()() const {
        if (work_.n_tiles == 0) return;
        // The first n_tiles partial sums are the totals.
        const std::int64_t n_at_once = (n_partials_ * n_threads_ - work_.n_tiles) / work_.n_tiles;
        const bool many_tiles = work_.n_tiles >= 2 * n_threads_ && n_at_once < 2 * n_threads_;
        if (work_.last - segment_of(work_.first) <= kSegmentPositions || many_tiles ||
            work_.n_tiles > n_quant_tiles_ * n_threads_)
            share_out_tiles();
        else
            share_out_segments(n_at_once);
    }

  private:
    // Positions of a tile that a thread goes through at a time, from the start of a segment on.
    struct Piece {
        std::int64_t number = 0;  // of the tile
        std::int64_t begin = 0;
        std::int64_t end = 0;
        Tile tile;
        std::array<Query, kTileQueries> queries;

        // Of those that are seen: the block of the first, and the end.
        std::int64_t block() const noexcept {
            return std::max(begin, tile.first / kBlockPositions * kBlockPositions);
        }
        std::int64_t last() const noexcept { return std::min(end, tile.last); }
    };

    void take(Piece& piece, std::int64_t number, std::int64_t begin, std::int64_t end) const noexcept {
        piece.tile = fill_(number, piece.queries.data());
        piece.number = number;
        piece.begin = begin;
        piece.end = end;
    }

    // For the pieces of items [item, end): item = take(piece, item), which gives the item after it, and
    // attend(piece, next piece or nullptr), in turns. The first block of the first one is asked for.
    template <class Take, class Attend>
    static void for_each_piece(std::int64_t item, std::int64_t end, Take&& take, Attend&& attend) noexcept {
        std::array<Piece, 2> pieces;
        item = take(pieces[0], item);
        LinesAhead lines;
        add_block(pieces[0].tile, pieces[0].block(), pieces[0].last(), lines);
        ask_for(lines);
        for (std::size_t i = 0;; i = 1 - i) {
            const bool is_last = item >= end;
            if (!is_last) item = take(pieces[1 - i], item);
            attend(pieces[i], is_last ? nullptr : &pieces[1 - i]);
            if (is_last) return;
        }
    }

    // Sums up each segment of a piece, also one that its tile does not see, in part_of(its first position),
    // then calls done(it).
    template <class PartOf, class Done>
    void attend(const Piece& piece, const Piece* next, const TileMemory& memory, PartOf&& part_of,
                Done&& done) const noexcept {
        for (std::int64_t segment = piece.begin; segment < piece.end; segment += kSegmentPositions) {
            const Partial part = part_of(segment);
            part.clear(piece.tile.n_queries);
            const std::int64_t end = std::min(segment + kSegmentPositions, piece.last());
            for (std::int64_t block = std::max(segment, piece.block()); block < end;
                 block += kBlockPositions) {
                LinesAhead ahead;
                if (block + kBlockPositions < piece.last())
                    add_block(piece.tile, block + kBlockPositions, piece.last(), ahead);
                else if (next != nullptr)
                    add_block(next->tile, next->block(), next->last(), ahead);
                attend_block(k_, piece.tile, block, work_.scale, memory, part, ahead);
            }
            done(part);
        }
    }

    void share_out_tiles() const {
        const auto attend_tiles = [&](std::int64_t begin, std::int64_t end, int thread) noexcept {
            const Workspace memory = workspace(thread);
            const Partial total = partial(n_partials_ * thread);
            const Partial part = partial(n_partials_ * thread + 1);
            for_each_piece(
                begin, end,
                [&](Piece& piece, std::int64_t item) noexcept {
                    // In the order of tokens: a thread's share are those whose queries it has made.
                    take(piece, item, 0, work_.last);
                    piece.begin = segment_of(piece.tile.first);
                    piece.end = piece.tile.last;
                    return item + 1;
                },
                [&](Piece& piece, const Piece* next) noexcept {
                    const int n_queries = piece.tile.n_queries;
                    quantize(piece.tile, memory.blocks);
                    total.clear(n_queries);
                    attend(
                        piece, next, memory.tile, [&](std::int64_t) { return part; },
                        [&](const Partial&) { merge(k_, n_queries, total, part, work_.value_dim); });
                    finish(piece.tile, total);
                });
        };
        if (work_.one_token)
            share_out(team_, work_.n_tiles, 1, attend_tiles);
        else
            team_.parallel_for(work_.n_tiles, 1, attend_tiles);
    }

    void share_out_segments(std::int64_t most_at_once) const {
        const std::int64_t n_tiles = work_.n_tiles;
        if (has_quant_keys())
            team_.parallel_for(n_tiles, 1, [&](std::int64_t item, std::int64_t, int) noexcept {
                std::array<Query, kTileQueries> queries;
                Tile tile = fill_(item, queries.data());
                quantize(tile, shared_blocks(item));
            });
        const std::int64_t first_segment = segment_of(work_.first);
        const std::int64_t n_all = (work_.last - first_segment + kSegmentPositions - 1) / kSegmentPositions;
        const std::int64_t n_rounds = (n_all + most_at_once - 1) / most_at_once;
        const std::int64_t n_at_once = (n_all + n_rounds - 1) / n_rounds;
        for (std::int64_t begin = first_segment; begin < work_.last; begin += n_at_once * kSegmentPositions) {
            const std::int64_t n_segments =
                std::min(n_at_once, (work_.last - begin + kSegmentPositions - 1) / kSegmentPositions);
            attend_segments(begin, n_segments);
            team_.parallel_for(n_tiles, 1, [&](std::int64_t item, std::int64_t, int) noexcept {
                std::array<Query, kTileQueries> queries;
                const Tile tile = fill_(item, queries.data());
                const Partial total = partial(item);
                if (begin == first_segment) total.clear(tile.n_queries);
                const auto part = [&](std::int64_t s) { return partial((s + 1) * n_tiles + item); };
                // Half of them are of another thread: what comes next is asked for early.
                for (std::int64_t s = 0; s < n_segments; ++s) {
                    if (s + 1 < n_segments) part(s + 1).fetch(tile.n_queries);
                    merge(k_, tile.n_queries, total, part(s), work_.value_dim);
                }
                if (begin + n_segments * kSegmentPositions >= work_.last) finish(tile, total);
            });
        }
    }

    // A thread gets neighbouring segments of a tile: rows that follow each other in memory.
    void attend_segments(std::int64_t begin, std::int64_t n_segments) const {
        share_out(team_, n_segments * work_.n_tiles, 1,
                  [&](std::int64_t first, std::int64_t last, int thread) noexcept {
                      const TileMemory memory = workspace(thread).tile;
                      for_each_piece(
                          first, last,
                          [&](Piece& piece, std::int64_t item) noexcept {
                              const std::int64_t segment = item % n_segments;
                              const std::int64_t n = std::min(last - item, n_segments - segment);
                              take(piece, item / n_segments, begin + segment * kSegmentPositions,
                                   begin + (segment + n) * kSegmentPositions);
                              piece.tile.blocks =
                                  reinterpret_cast<const ActivationBlock*>(shared_blocks(piece.number));
                              return item + n;
                          },
                          [&](const Piece& piece, const Piece* next) noexcept {
                              const auto part_of = [&](std::int64_t segment) {
                                  return partial(((segment - begin) / kSegmentPositions + 1) * work_.n_tiles +
                                                 piece.number);
                              };
                              attend(piece, next, memory, part_of, [](const Partial&) {});
                          });
                  });
    }

    bool has_quant_keys() const {
        std::array<Query, kTileQueries> queries;
        return fill_(0, queries.data()).keys.quant() != nullptr;
    }

    // The tile's queries as integers, if its keys want them.
    void quantize(Tile& tile, float* to) const noexcept {
        if (tile.keys.quant() == nullptr) return;
        auto* blocks = reinterpret_cast<ActivationBlock*>(to);
        for (int j = 0; j < tile.n_queries; ++j)
            kernels().quantize_row(blocks + j * tile.blocks_per_query(), tile.queries[j].values,
                                   tile.keys.n_values());
        tile.blocks = blocks;
    }

    Workspace workspace(std::int64_t thread) const noexcept {
        return {scratch_.of(static_cast<int>(thread)), max_row_};
    }
    Partial partial(std::int64_t i) const noexcept {
        return {workspace(i / n_partials_).partials + i % n_partials_ * partial_floats_, work_.n_queries,
                work_.value_dim};
    }
    // Where the queries of a tile are as integers, for all threads.
    float* shared_blocks(std::int64_t tile) const noexcept {
        return workspace(tile / n_quant_tiles_).blocks +
               tile % n_quant_tiles_ * block_floats(work_.n_queries, work_.key_dim);
    }

    ThreadTeam& team_;
    const Scratch& scratch_;
    const Work& work_;
    const Fill& fill_;
    const AttentionKernels& k_ = attention_kernels(kernels().isa);
    std::int64_t n_threads_;
    std::int64_t max_row_;
    std::int64_t partial_floats_;
    std::int64_t n_partials_;     // of a thread
    std::int64_t n_quant_tiles_;  // whose queries as integers a thread's scratch holds
};

std::int64_t n_groups(std::int64_t n, std::int64_t group) noexcept { return (n + group - 1) / group; }

}  // namespace

std::int64_t attention_scratch_floats(std::int64_t max_row) noexcept {
    return TileMemory::floats(max_row) + block_floats(kQuantTiles * kTileQueries, max_row) +
           kPartials * Partial::floats(kTileQueries, max_row);
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
    const auto fill = [&](std::int64_t item, Query* queries) noexcept {
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
                  queries};
        for (int j = 0; j < tile.n_queries; ++j) {
            const std::int64_t t = (first_query + j) / n_heads;
            const std::int64_t head = (first_query + j) % n_heads;
            const std::int64_t n_seen = listed == nullptr
                                            ? first_position + t + 1
                                            : std::find(listed, listed + n_visible, -1) - listed;
            queries[j] = {q.row(t) + head * shape.row_dim(), out.row(t) + head * shape.latent_dim, nullptr, 0,
                          n_seen};
            tile.last = n_seen;
        }
        return tile;
    };
    const std::int64_t last = visible.empty() ? first_position + q.n_rows : n_visible;
    const Work work{visible.empty() ? groups : q.n_rows * groups,
                    std::min<std::int64_t>(kTileQueries, n_together),
                    q.n_rows == 1,
                    0,
                    last,
                    shape.row_dim(),
                    shape.latent_dim,
                    shape.scale};
    Run(team, scratch, work, fill)();
}

void gqa_attention(ThreadTeam& team, const Scratch& scratch, MatrixView out, ConstMatrixView q,
                   const KvRows& keys, const KvRows& values, std::int64_t first_position,
                   const GqaShape& shape, std::span<const float> sinks) {
    assert(q.n_cols == shape.n_heads * shape.head_dim && out.n_cols == shape.n_heads * shape.value_dim);
    assert(keys.n_values == shape.head_dim && keys.n_heads == shape.n_kv_heads);
    assert(values.n_values == shape.value_dim && values.n_heads == shape.n_kv_heads);
    assert(sinks.empty() || static_cast<int>(sinks.size()) == shape.n_heads);
    // The queries of a kv head: its heads of the first token, of the second, …
    const std::int64_t heads_per_kv = shape.n_heads / shape.n_kv_heads;
    const std::int64_t n_queries = q.n_rows * heads_per_kv;
    const std::int64_t groups = n_groups(n_queries, kTileQueries);
    const auto fill = [&](std::int64_t item, Query* queries) noexcept {
        const auto kv_head = static_cast<int>(item % shape.n_kv_heads);
        const std::int64_t first_query = item / shape.n_kv_heads * kTileQueries;
        Tile tile{HeadRows(keys, kv_head, shape.head_dim),
                  HeadRows(values, kv_head, shape.value_dim),
                  false,
                  nullptr,
                  static_cast<int>(std::min<std::int64_t>(kTileQueries, n_queries - first_query)),
                  queries};
        for (int j = 0; j < tile.n_queries; ++j) {
            const std::int64_t t = (first_query + j) / heads_per_kv;
            const std::int64_t head = kv_head * heads_per_kv + (first_query + j) % heads_per_kv;
            const std::int64_t position = first_position + t;
            queries[j] = {q.row(t) + head * shape.head_dim, out.row(t) + head * shape.value_dim,
                          sinks.empty() ? nullptr : &sinks[static_cast<std::size_t>(head)],
                          shape.first_visible(position), position + 1};
        }
        // Later tokens see neither earlier beginnings nor earlier ends.
        tile.first = queries[0].first;
        tile.last = queries[tile.n_queries - 1].last;
        return tile;
    };
    const Work work{shape.n_kv_heads * groups,
                    std::min<std::int64_t>(kTileQueries, n_queries),
                    q.n_rows == 1,
                    shape.first_visible(first_position),
                    first_position + q.n_rows,
                    shape.head_dim,
                    shape.value_dim,
                    shape.scale};
    Run(team, scratch, work, fill)();
}

}  // namespace greenroom::cpu
