#pragma once

// The grids of the IQ types (quant/iq_tables.h) in device memory, expanded from the same codes when a kernel
// is compiled. A point is one or two words of four bytes, ready for dot4. Not __constant__: that memory
// serves one address at a time, and lanes look up different points; through the L1 cache they are a load
// each.
//
// Each .cu file that uses a grid has its own copy of it (1 to 16 KiB of global memory).

#include "gpu/device.cuh"
#include "quant/iq_code_tables.h"

#include <cstdint>

namespace greenroom::gpu {

template <int n_points, int n_words>
struct Grid {
    std::uint32_t point[n_points][n_words];
};

template <int n_words, int n_points, int n_levels>
consteval Grid<n_points, n_words> expand_grid(const std::uint16_t (&codes)[n_points],
                                              const std::int8_t (&levels)[n_levels]) {
    constexpr int index_bits = 4 / n_words;
    Grid<n_points, n_words> grid{};
    for (int i = 0; i < n_points; ++i)
        for (int j = 0; j < 4 * n_words; ++j) {
            const int index = codes[i] >> (index_bits * j) & ((1 << index_bits) - 1);
            grid.point[i][j / 4] |= std::uint32_t{static_cast<std::uint8_t>(levels[index])} << (8 * (j % 4));
        }
    return grid;
}

static __device__ const Grid<256, 2> kIq2XxsPoints =
    expand_grid<2>(quant::kIq2XxsCodes, quant::kIq2XxsLevels);
static __device__ const Grid<512, 2> kIq2XsPoints = expand_grid<2>(quant::kIq2XsCodes, quant::kIq2XsLevels);
static __device__ const Grid<1024, 2> kIq2SPoints = expand_grid<2>(quant::kIq2SCodes, quant::kIq2SLevels);
static __device__ const Grid<256, 1> kIq3XxsPoints =
    expand_grid<1>(quant::kIq3XxsCodes, quant::kIq3XxsLevels);
static __device__ const Grid<512, 1> kIq3SPoints = expand_grid<1>(quant::kIq3SCodes, quant::kIq3SLevels);
static __device__ const Grid<2048, 2> kIq1Points = expand_grid<2>(quant::kIq1Codes, quant::kIq1Levels);

}  // namespace greenroom::gpu
