#pragma once

// The inner loops of attention (attention.h): a tile of queries against a block of cached rows, in float32.
// The table is filled for each ISA; AVX2 and AVX-512 give the same bits, the scalar one accumulates in
// double.
//
// What a query gets does not depend on the other queries of its tile: each score is one chain of fused
// products over the values of a row, each value of a result one chain over the positions of a block.

#include "cpu/isa.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace greenroom::cpu {

inline constexpr int kTileQueries = 64;
inline constexpr int kBlockPositions = 64;
inline constexpr int kPackedRows = 16;  // rows that pack_keys() takes at once
inline constexpr int kValueStep = 32;   // what accumulate() pads n_values to

// Which positions of a block a query sees: [first, last).
struct BlockRange {
    int first;
    int last;

    bool empty() const noexcept { return first >= last; }
    bool operator==(const BlockRange&) const = default;
};

// Cache lines that will be needed soon. score() and accumulate() ask for one in each step of their inner
// loops, so that memory works while they compute; asked for all at once they would be waited for.
class LinesAhead {
  public:
    // What the steps of a loop ask for. It may go a little beyond what was added.
    struct Lines {
        const std::byte* first;
        std::int64_t step;

        const std::byte* operator[](std::int64_t i) const noexcept { return first + i * step; }
        Lines from(std::int64_t i) const noexcept { return {(*this)[i], step}; }
    };

    LinesAhead() noexcept {}  // the runs are left as they are

    // Lines of bytes that lie one after the other.
    void add(const std::byte* data, std::int64_t n_bytes) noexcept {
        add_run(data, (n_bytes + kLine - 1) / kLine, kLine);
    }
    // Lines of n rows, of each the same n_bytes.
    void add(const std::byte* data, std::int64_t n_bytes, std::int64_t n_rows,
             std::int64_t row_bytes) noexcept {
        if (n_bytes == row_bytes) return add(data, n_rows * row_bytes);
        for (std::int64_t at = 0; at < n_bytes; at += kLine) add_run(data + at, n_rows, row_bytes);
    }

    // Those of a loop of n_steps; once there are no more, some that are near anyway.
    Lines take(std::int64_t n_steps) noexcept {
        if (empty()) return {reinterpret_cast<const std::byte*>(this), 0};
        Run& run = runs_[static_cast<std::size_t>(next_)];
        const Lines lines = run.lines;
        if (run.n > n_steps) {
            run.lines = lines.from(n_steps);
            run.n -= n_steps;
            return lines;
        }
        ++next_;
        // The end of a run of neighbours is spread over all of the steps.
        return {lines.first, lines.step == kLine ? (kLine * run.n + n_steps - 1) / n_steps : lines.step};
    }

    bool empty() const noexcept { return next_ == n_; }

  private:
    static constexpr std::int64_t kLine = 64;
    static constexpr std::int64_t kMost = 2 * kBlockPositions;

    struct Run {
        Lines lines;
        std::int64_t n;
    };

    // Runs beyond the first kMost are left out.
    void add_run(const std::byte* first, std::int64_t n, std::int64_t step) noexcept {
        if (n_ < kMost) runs_[static_cast<std::size_t>(n_++)] = {{first, step}, n};
    }

    std::int64_t n_ = 0;
    std::int64_t next_ = 0;
    std::array<Run, kMost> runs_;
};

struct AttentionKernels {
    // keys[i][r] = rows[r][i] for 16 rows: a part of a block of keys, [n_values, kBlockPositions], in which
    // positions are the lanes of a vector. Up to 3 values past n_values are read and written.
    void (*pack_keys)(float* keys, const float* rows, std::int64_t row_stride,
                      std::int64_t n_values) noexcept;

    // scores[j][s] = Σ_i queries[j][i] · keys[i][s] for all positions of a block.
    // scores: [n_queries, kBlockPositions].
    void (*score)(float* scores, const float* const* queries, int n_queries, const float* keys,
                  std::int64_t n_values, LinesAhead& ahead) noexcept;

    // One step of the running softmax (Milakov and Gimelshein 2018, arXiv:1805.02867): for each query that
    // sees any of the block, with m = max(maximums[j], the largest scale · score it sees),
    //   factors[j] = e^(maximums[j] - m), scores[j][s] ← e^(scale · scores[j][s] - m), 0 where it does not
    //   see s, sums[j] ← sums[j] · factors[j] + Σ_s scores[j][s], maximums[j] ← m
    // Weights below FLT_MIN become 0: they cannot be told from it, and subnormal operands take long.
    void (*weigh)(float* scores, const BlockRange* ranges, int n_queries, float scale, float* maximums,
                  float* sums, float* factors) noexcept;

    // out[j] ← factors[j] · out[j] + Σ_s weights[j][s] · values[s], the s of `range` in this order. Rows of
    // out are out_stride apart, of weights kBlockPositions, of values value_stride; all of out and values are
    // worked on up to n_values rounded up to kValueStep.
    void (*accumulate)(float* out, std::int64_t out_stride, const float* factors, int n_queries,
                       const float* weights, const float* values, std::int64_t value_stride, BlockRange range,
                       std::int64_t n_values, LinesAhead& ahead) noexcept;
};

// The table of one ISA; the CPU must have it.
const AttentionKernels& attention_kernels(Isa isa) noexcept;

}  // namespace greenroom::cpu
