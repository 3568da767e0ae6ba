#!/usr/bin/env python3
"""Prints iq_code_tables.h: the grids of the IQ types, taken from the `gguf` Python package.

    pip install gguf && python3 quant/make_iq_tables.py > quant/iq_code_tables.h

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
#pragma once

// Written by make_iq_tables.py; edit that instead.
//
// The grids of the IQ types as they are packed here. A point is a 16-bit code: for each of its values the
// index of its level, first value lowest. The grids of 8 values take two bits for an index; those of 4 values
// take four (of which one is always zero), so that the digits of the code are the indices. The codes ascend.
//
// They are expanded when a program is compiled: into iq_tables.h for the CPU, into gpu/grids.cuh for the GPU.

#include <cstdint>

namespace greenroom::quant {

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
        print(f"\ninline constexpr std::int8_t k{name}Levels[] = {{{levels}}};")
        print(f"inline constexpr std::uint16_t k{name}Codes[{len(table)}] = {{")
        for start in range(0, len(table), CODES_PER_LINE):
            print("    " + " ".join(f"0x{code:04x}," for code in table[start : start + CODES_PER_LINE]))
        print("};")
    print("\n// clang-format on\n\n}  // namespace greenroom::quant")


if __name__ == "__main__":
    main()
