#pragma once

// Tiles: the queries that are done together since they read the same cached rows, and what attention.cpp does
// to a tile, block by block of these rows. What a tile needs in memory is in the thread's scratch.

#include "cpu/attention_half.h"
#include "cpu/attention_kernels.h"
#include "cpu/attention_quant.h"
#include "cpu/quantize.h"
#include "quant/base/kv_rows.h"
#include "quant/decode.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace greenroom::cpu {

// The cached rows of a head, of each the first n_values.
class HeadRows {
  public:
    // Where the rows of a block are. All have a place: positions that nobody asked for that of the first.
    using Places = std::array<const std::byte*, kBlockPositions>;

    HeadRows() = default;  // none
    HeadRows(const KvRows& rows, int head, std::int64_t n_values);

    std::int64_t n_values() const noexcept { return n_values_; }
    // The kernels that read the rows as they are, integers or halves; without either they have to be decoded.
    const QuantAttention* quant() const noexcept { return quant_; }
    const HalfAttention* half() const noexcept { return half_; }
    bool decoded() const noexcept { return quant_ == nullptr && half_ == nullptr; }

    // Rows of positions first, first + 1, … or of listed[first], …, `stride` floats apart in out.
    void decode(const std::int32_t* listed, std::int64_t first, int n, float* out,
                std::int64_t stride) const noexcept;

    // The rows of the same positions, counted from `block` on; range must not be empty.
    void locate(const std::int32_t* listed, std::int64_t block, BlockRange range,
                Places& places) const noexcept;

    // The lines of the same rows.
    void add_lines(const std::int32_t* listed, std::int64_t first, std::int64_t last,
                   LinesAhead& ahead) const noexcept;

  private:
    // n rows that lie one after the other.
    struct Rows {
        const std::byte* data;
        std::int64_t n;
    };

    // Those of positions first, first + 1, … before `last`, up to where the rows begin anew.
    Rows neighbours(std::int64_t first, std::int64_t last) const noexcept {
        // Mostly no division, which takes as long as decoding a short row.
        const std::int64_t number = first < rows_->n_rows ? first : first % rows_->n_rows;
        return {data_ + number * rows_->row_bytes, std::min(last - first, rows_->n_rows - number)};
    }

    const std::byte* row(std::int64_t position) const noexcept {
        return data_ + position % rows_->n_rows * rows_->row_bytes;
    }

    const KvRows* rows_ = nullptr;
    const std::byte* data_ = nullptr;  // of the head
    const QuantAttention* quant_ = nullptr;
    const HalfAttention* half_ = nullptr;
    quant::DecodeFn decode_ = nullptr;
    std::int64_t n_values_ = 0;
};

// One head of one token, which sees the rows [first, last) of those that are offered.
struct Query {
    const float* values = nullptr;
    float* result = nullptr;
    const float* sink = nullptr;  // or none
    std::int64_t first = 0;
    std::int64_t last = 0;
};

// Row i is that of position i, or of listed[i]. Queries that see the same rows are neighbours.
struct Tile {
    HeadRows keys;
    HeadRows values;
    bool keys_are_values = false;  // the first values of a key are its value
    const std::int32_t* listed = nullptr;
    int n_queries = 0;
    const Query* queries = nullptr;
    const ActivationBlock* blocks = nullptr;  // the queries as integers, where the keys want them
    std::int64_t first = 0;                   // of all queries
    std::int64_t last = 0;

    // Blocks from a query to the next one.
    std::int64_t blocks_per_query() const noexcept { return activation_blocks(keys.n_values()); }
};

// Σ e^(score - maximum) · value and Σ e^(score - maximum) of each query of a tile, over some of the rows.
struct Partial {
    float* results;
    std::int64_t stride;  // of results
    float* maximums;
    float* sums;

    Partial(float* memory, std::int64_t n_queries, std::int64_t n_values) noexcept;
    static std::int64_t floats(std::int64_t n_queries, std::int64_t n_values) noexcept;

    // Of no rows at all.
    void clear(int n_queries) const noexcept;

    // Asks for it, the partial of n_queries.
    void fetch(int n_queries) const noexcept;
};

// What a thread works in, for rows of which a head reads up to max_row values.
struct TileMemory {
    float* keys;  // also PackedKeys, or halves
    float* rows;
    float* scores;

    TileMemory(float* memory, std::int64_t max_row) noexcept;
    static std::int64_t floats(std::int64_t max_row) noexcept;
};

// The lines of a block's rows, of those before `last`.
void add_block(const Tile& tile, std::int64_t block, std::int64_t last, LinesAhead& lines) noexcept;

// Asks for them all at once.
void ask_for(LinesAhead& lines) noexcept;

// memory.scores ← query · key of each query and of these rows, counted from `block` on: [n_queries,
// kBlockPositions]. Asks for the lines ahead on the way.
void score_block(const AttentionKernels& k, const Tile& tile, std::int64_t block, BlockRange rows,
                 const TileMemory& memory, LinesAhead& ahead) noexcept;

// partial ← partial and the block of rows that begins at `block`. Asks for the lines ahead on the way.
void attend_block(const AttentionKernels& k, const Tile& tile, std::int64_t block, float scale,
                  const TileMemory& memory, const Partial& partial, LinesAhead& ahead) noexcept;

}  // namespace greenroom::cpu
