#include "cpu/attention_tile.h"

#include "cpu/attention_simd.h"
#include "cpu/decode_row.h"
#include "cpu/kernels.h"

#include <algorithm>
#include <cfloat>

namespace greenroom::cpu {
namespace {

constexpr std::int64_t round_up(std::int64_t n, std::int64_t to) noexcept { return (n + to - 1) / to * to; }

// Decoded rows are apart by an odd number of cache lines: the same columns of all rows fit into the
// first-level cache at once.
constexpr std::int64_t row_stride(std::int64_t n_values) noexcept { return round_up(n_values, 32) + 16; }

std::int64_t stride_of_decoded(const Tile& tile) noexcept {
    return row_stride(std::max(tile.keys.n_values(), tile.values.n_values()));
}

// As floats. Packed keys take less.
constexpr std::int64_t key_floats(std::int64_t n_values) noexcept {
    return round_up(n_values, 4) * kBlockPositions;
}
static_assert(sizeof(PackedKeys) <= key_floats(PackedKeys::kValues) * sizeof(float));

constexpr std::int64_t kScoreFloats = kTileQueries * kBlockPositions;

// The rows of a block as keys. Rows that are values too are left where accumulate() is to find them; others
// are decoded to one place, which stays in the first-level cache.
void load_keys(const AttentionKernels& k, const Tile& tile, std::int64_t block, BlockRange rows,
               const TileMemory& memory, std::int64_t stride) noexcept {
    const std::int64_t n_values = tile.keys.n_values();
    for (int group = rows.first / kPackedRows * kPackedRows; group < rows.last; group += kPackedRows) {
        const int begin = std::max(group, rows.first);
        const int n = std::min(group + kPackedRows, rows.last) - begin;
        float* decoded = memory.rows + (tile.keys_are_values ? group * stride : 0);
        tile.keys.decode(tile.listed, block + begin, n, decoded + (begin - group) * stride, stride);
        k.pack_keys(memory.keys + group, decoded, stride, n_values);
    }
}

std::array<const float*, kTileQueries> query_values(const Tile& tile) noexcept {
    std::array<const float*, kTileQueries> values;
    for (int j = 0; j < tile.n_queries; ++j) values[static_cast<std::size_t>(j)] = tile.queries[j].values;
    return values;
}

void score_decoded(const AttentionKernels& k, const Tile& tile, std::int64_t block, BlockRange rows,
                   const TileMemory& memory, std::int64_t stride, LinesAhead& ahead) noexcept {
    load_keys(k, tile, block, rows, memory, stride);
    k.score(memory.scores, query_values(tile).data(), tile.n_queries, memory.keys, tile.keys.n_values(),
            ahead);
}

void score_half(const Tile& tile, std::int64_t block, BlockRange rows, const TileMemory& memory,
                LinesAhead& ahead) noexcept {
    HeadRows::Places places;
    tile.keys.locate(tile.listed, block, rows, places);
    auto* keys = reinterpret_cast<std::uint16_t*>(memory.keys);
    tile.keys.half()->pack_keys(keys, places.data(), tile.keys.n_values());
    tile.keys.half()->score(memory.scores, query_values(tile).data(), tile.n_queries, keys,
                            tile.keys.n_values(), ahead);
}

void score_quant(const Tile& tile, std::int64_t block, BlockRange rows, const TileMemory& memory,
                 LinesAhead& ahead) noexcept {
    std::array<const ActivationBlock*, kTileQueries> queries;
    for (int j = 0; j < tile.n_queries; ++j)
        queries[static_cast<std::size_t>(j)] = tile.blocks + j * tile.blocks_per_query();
    HeadRows::Places places;
    tile.keys.locate(tile.listed, block, rows, places);
    auto* keys = reinterpret_cast<PackedKeys*>(memory.keys);
    tile.keys.quant()->pack_keys(keys, places.data(), tile.keys.n_values());
    tile.keys.quant()->score(memory.scores, queries.data(), tile.n_queries, keys, tile.keys.n_values(),
                             ahead);
}

// Calls sum(first query, number of queries, range) for queries that see the same of the block. Those that do
// not see a row are kept from it, instead of adding it with the weight 0: it may hold an infinity.
template <class Sum>
void for_each_range(const BlockRange* ranges, int n_queries, const Sum& sum) noexcept {
    for (int j = 0; j < n_queries;) {
        const int first = j;
        while (j < n_queries && ranges[j] == ranges[first]) ++j;
        if (!ranges[first].empty()) sum(first, j - first, ranges[first]);
    }
}

void accumulate_decoded(const AttentionKernels& k, const Tile& tile, std::int64_t block, BlockRange rows,
                        const BlockRange* ranges, const float* factors, const TileMemory& memory,
                        std::int64_t stride, const Partial& partial, LinesAhead& ahead) noexcept {
    if (!tile.keys_are_values || !tile.keys.decoded())
        tile.values.decode(tile.listed, block + rows.first, rows.last - rows.first,
                           memory.rows + rows.first * stride, stride);
    for_each_range(ranges, tile.n_queries, [&](int first, int n, BlockRange range) noexcept {
        k.accumulate(partial.results + first * partial.stride, partial.stride, factors + first, n,
                     memory.scores + first * kBlockPositions, memory.rows, stride, range,
                     tile.values.n_values(), ahead);
    });
}

void accumulate_half(const Tile& tile, std::int64_t block, BlockRange rows, const BlockRange* ranges,
                     const float* factors, const TileMemory& memory, const Partial& partial,
                     LinesAhead& ahead) noexcept {
    HeadRows::Places places;
    tile.values.locate(tile.listed, block, rows, places);
    for_each_range(ranges, tile.n_queries, [&](int first, int n, BlockRange range) noexcept {
        tile.values.half()->accumulate(partial.results + first * partial.stride, partial.stride,
                                       factors + first, n, memory.scores + first * kBlockPositions,
                                       places.data(), range, tile.values.n_values(), ahead);
    });
}

void accumulate_quant(const Tile& tile, std::int64_t block, BlockRange rows, const BlockRange* ranges,
                      const float* factors, const TileMemory& memory, const Partial& partial,
                      LinesAhead& ahead) noexcept {
    HeadRows::Places places;
    tile.values.locate(tile.listed, block, rows, places);
    tile.values.quant()->accumulate(partial.results, partial.stride, factors, ranges, rows, tile.n_queries,
                                    memory.scores, places.data(), tile.values.n_values(), ahead);
}

}  // namespace

HeadRows::HeadRows(const KvRows& rows, int head, std::int64_t n_values)
    : rows_(&rows),
      data_(rows.head(head)),
      quant_(find_quant_attention(rows.type, kernels().isa)),
      half_(find_half_attention(rows.type, n_values, kernels().isa)),
      decode_(find_row_decoder(rows.type)),
      n_values_(n_values) {}

void HeadRows::decode(const std::int32_t* listed, std::int64_t first, int n, float* out,
                      std::int64_t stride) const noexcept {
    if (listed != nullptr) {
        for (int r = 0; r < n; ++r) decode_(row(listed[first + r]), out + r * stride, n_values_);
        return;
    }
    for (std::int64_t at = first; at < first + n;) {
        const Rows rows = neighbours(at, first + n);
        for (std::int64_t i = 0; i < rows.n; ++i, out += stride)
            decode_(rows.data + i * rows_->row_bytes, out, n_values_);
        at += rows.n;
    }
}

void HeadRows::locate(const std::int32_t* listed, std::int64_t block, BlockRange range,
                      Places& places) const noexcept {
    const std::byte** to = places.data() + range.first;
    if (listed != nullptr) {
        for (int s = range.first; s < range.last; ++s) *to++ = row(listed[block + s]);
    } else {
        for (std::int64_t at = block + range.first; at < block + range.last;) {
            const Rows rows = neighbours(at, block + range.last);
            for (std::int64_t i = 0; i < rows.n; ++i) *to++ = rows.data + i * rows_->row_bytes;
            at += rows.n;
        }
    }
    const auto first = static_cast<std::size_t>(range.first);
    std::fill_n(places.begin(), first, places[first]);
    std::fill(places.begin() + range.last, places.end(), places[first]);
}

void HeadRows::add_lines(const std::int32_t* listed, std::int64_t first, std::int64_t last,
                         LinesAhead& ahead) const noexcept {
    const std::int64_t n_bytes = quant::row_bytes(rows_->type, n_values_);
    if (listed != nullptr) {
        for (std::int64_t i = first; i < last; ++i) ahead.add(row(listed[i]), n_bytes);
        return;
    }
    while (first < last) {
        const Rows rows = neighbours(first, last);
        if (n_bytes == rows_->row_bytes)
            ahead.add(rows.data, rows.n * n_bytes);
        else
            ahead.add(rows.data, n_bytes, rows.n, rows_->row_bytes);
        first += rows.n;
    }
}

Partial::Partial(float* memory, std::int64_t n_queries, std::int64_t n_values) noexcept
    : results(memory),
      stride(round_up(n_values, kValueStep)),
      maximums(memory + n_queries * stride),
      sums(maximums + n_queries) {}

std::int64_t Partial::floats(std::int64_t n_queries, std::int64_t n_values) noexcept {
    return round_up(n_queries * (2 + round_up(n_values, kValueStep)), 16);
}

// The lowest number instead of -∞, of which differences are no numbers.
void Partial::clear(int n_queries) const noexcept {
    std::fill_n(maximums, n_queries, -FLT_MAX);
    std::fill_n(sums, n_queries, 0.0F);
    std::fill_n(results, n_queries * stride, 0.0F);
}

void Partial::fetch(int n_queries) const noexcept {
    LinesAhead lines;
    lines.add(reinterpret_cast<const std::byte*>(results),
              (n_queries * (stride + 2)) * static_cast<std::int64_t>(sizeof *results));
    ask_for(lines);
}

TileMemory::TileMemory(float* memory, std::int64_t max_row) noexcept
    : keys(memory), rows(keys + key_floats(max_row)), scores(rows + kBlockPositions * row_stride(max_row)) {}

std::int64_t TileMemory::floats(std::int64_t max_row) noexcept {
    return key_floats(max_row) + kBlockPositions * row_stride(max_row) + kScoreFloats;
}

void add_block(const Tile& tile, std::int64_t block, std::int64_t last, LinesAhead& lines) noexcept {
    const std::int64_t end = std::min(block + kBlockPositions, last);
    tile.keys.add_lines(tile.listed, block, end, lines);
    if (!tile.keys_are_values) tile.values.add_lines(tile.listed, block, end, lines);
}

void ask_for(LinesAhead& lines) noexcept {
    while (!lines.empty()) {
        constexpr std::int64_t kAtOnce = 16;
        const LinesAhead::Lines some = lines.take(kAtOnce);
        for (std::int64_t i = 0; i < kAtOnce; ++i) bring_near(some[i]);
    }
}

void score_block(const AttentionKernels& k, const Tile& tile, std::int64_t block, BlockRange rows,
                 const TileMemory& memory, LinesAhead& ahead) noexcept {
    if (tile.keys.quant() != nullptr)
        score_quant(tile, block, rows, memory, ahead);
    else if (tile.keys.half() != nullptr)
        score_half(tile, block, rows, memory, ahead);
    else
        score_decoded(k, tile, block, rows, memory, stride_of_decoded(tile), ahead);
}

void attend_block(const AttentionKernels& k, const Tile& tile, std::int64_t block, float scale,
                  const TileMemory& memory, const Partial& partial, LinesAhead& ahead) noexcept {
    const auto seen = [&](std::int64_t from, std::int64_t to) {
        return BlockRange{static_cast<int>(std::clamp<std::int64_t>(from - block, 0, kBlockPositions)),
                          static_cast<int>(std::clamp<std::int64_t>(to - block, 0, kBlockPositions))};
    };
    const BlockRange rows = seen(tile.first, tile.last);
    if (rows.empty()) return;
    std::array<BlockRange, kTileQueries> ranges;
    for (int j = 0; j < tile.n_queries; ++j)
        ranges[static_cast<std::size_t>(j)] = seen(tile.queries[j].first, tile.queries[j].last);

    score_block(k, tile, block, rows, memory, ahead);
    std::array<float, kTileQueries> factors;
    k.weigh(memory.scores, ranges.data(), tile.n_queries, scale, partial.maximums, partial.sums,
            factors.data());
    if (tile.values.quant() != nullptr)
        accumulate_quant(tile, block, rows, ranges.data(), factors.data(), memory, partial, ahead);
    else if (tile.values.half() != nullptr)
        accumulate_half(tile, block, rows, ranges.data(), factors.data(), memory, partial, ahead);
    else
        accumulate_decoded(k, tile, block, rows, ranges.data(), factors.data(), memory,
                           stride_of_decoded(tile), partial, ahead);
}

}  // namespace greenroom::cpu
