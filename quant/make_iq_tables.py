#!/usr/bin/env python3
"""Prints iq_tables.cpp: the grids of the IQ types, taken from the `gguf` Python package.

    pip install gguf && python3 quant/make_iq_tables.py > quant/iq_tables.cpp

The package has the same constants in another compressed form. This expands them, writes a point as the indices of
its values among the grid's levels, and packs the indices into 16 bits, the first value lowest. That this sorts
each table is checked, since it is what the tests rely on to notice a damaged entry.
"""

from gguf import quants

# Name in C++, source class, bits per index.
GRIDS = [
    ("Iq2Xxs", quants.IQ2_XXS, 2),
    ("Iq2Xs", quants.IQ2_XS, 2),
    ("Iq2S", quants.IQ2_S, 2),
    ("Iq3Xxs", quants.IQ3_XXS, 4),
    ("Iq3S", quants.IQ3_S, 4),
    ("Iq1", quants.IQ1_S, 2),
]

CODES_PER_LINE = 13  # fills 110 columns

HEAD = """\
#include "quant/iq_tables.h"

// Written by make_iq_tables.py; edit that instead.
//
// A point is stored as a 16-bit code: for each of its values the index of its level, first value lowest. The
// grids of 8 values take two bits for an index; those of 4 values take four (of which one is always zero), so
// that the digits of the code are the indices. The codes ascend. They are expanded when this file is
// compiled; at run time there are only the finished tables.

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

// clang-format off
"""


def codes(grid_class, index_bits):
    grid_class.init_grid()
    levels = [int(level) for level in grid_class.grid_map]
    points = grid_class.grid.reshape(grid_class.grid_shape)
    result = [
        sum(levels.index(int(value)) << (index_bits * j) for j, value in enumerate(point)) for point in points
    ]
    assert result == sorted(set(result))
    return result


def main():
    print(HEAD, end="")
    for name, grid_class, index_bits in GRIDS:
        levels = ", ".join(str(int(level)) for level in grid_class.grid_map)
        table = codes(grid_class, index_bits)
        print(f"\nconstexpr std::int8_t k{name}Levels[] = {{{levels}}};")
        print(f"constexpr std::uint16_t k{name}Codes[{len(table)}] = {{")
        for start in range(0, len(table), CODES_PER_LINE):
            print("    " + " ".join(f"0x{code:04x}," for code in table[start : start + CODES_PER_LINE]))
        print("};")
    print("\n// clang-format on\n\n}  // namespace\n")
    for name, grid_class, index_bits in GRIDS:
        point = f"GridPoint{grid_class.grid_shape[1]}"
        n_points = grid_class.grid_shape[0]
        print(f"constinit const std::array<{point}, {n_points}> k{name}Grid = expand<{point}>(k{name}Codes, k{name}Levels);")
    print("\n}  // namespace greenroom::quant")


if __name__ == "__main__":
    main()
