#include "quant/iq_tables.h"

#include "quant/iq_code_tables.h"

namespace greenroom::quant {
namespace {

template <class Point, std::size_t n_points, std::size_t n_levels>
consteval std::array<Point, n_points> expand(const std::uint16_t (&codes)[n_points],
                                             const std::int8_t (&levels)[n_levels]) {
    constexpr int n_values = sizeof(Point);
    constexpr int index_bits = 16 / n_values;
    std::array<Point, n_points> points{};
    for (std::size_t i = 0; i < n_points; ++i)
        for (int j = 0; j < n_values; ++j)
            points[i].value[j] = levels[codes[i] >> (index_bits * j) & ((1 << index_bits) - 1)];
    return points;
}

}  // namespace

constinit const std::array<GridPoint8, 256> kIq2XxsGrid = expand<GridPoint8>(kIq2XxsCodes, kIq2XxsLevels);
constinit const std::array<GridPoint8, 512> kIq2XsGrid = expand<GridPoint8>(kIq2XsCodes, kIq2XsLevels);
constinit const std::array<GridPoint8, 1024> kIq2SGrid = expand<GridPoint8>(kIq2SCodes, kIq2SLevels);
constinit const std::array<GridPoint4, 256> kIq3XxsGrid = expand<GridPoint4>(kIq3XxsCodes, kIq3XxsLevels);
constinit const std::array<GridPoint4, 512> kIq3SGrid = expand<GridPoint4>(kIq3SCodes, kIq3SLevels);
constinit const std::array<GridPoint8, 2048> kIq1Grid = expand<GridPoint8>(kIq1Codes, kIq1Levels);

}  // namespace greenroom::quant
