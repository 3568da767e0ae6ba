#pragma once

// The constant tables of the IQ types and of the 4-bit floating-point types.
//
// An IQ type doesn't quantize values one by one: it stores, for 8 (or 4) values at once, the index of a point
// of a fixed grid, so that only combinations that occur in real weights cost bits. For the 2-bit and 3-bit
// types the grid gives magnitudes and signs are stored beside it; the ternary grid of the 1-bit types has its
// own signs.
//
// The points were chosen by the authors of the format (llama.cpp, pull requests 4773, 4856, 5196, 5453, 5676
// and 5721) and cannot be derived; iq_code_tables.h holds them. They are constants of the format.

#include <array>
#include <cstdint>

namespace greenroom::quant {

// One point. Aligned to its size, so that a kernel can load or gather it as one integer.
struct alignas(8) GridPoint8 {
    std::int8_t value[8];
};
struct alignas(4) GridPoint4 {
    std::int8_t value[4];
};

// Magnitudes 8, 25, 43, roughly proportional to 1, 3, 5. As 1, 3, 5 every point has a sum divisible by four,
// which an even number of sign changes preserves: halved, they are points of the E8 lattice.
extern const std::array<GridPoint8, 256> kIq2XxsGrid;
extern const std::array<GridPoint8, 512> kIq2XsGrid;
extern const std::array<GridPoint8, 1024> kIq2SGrid;

// Magnitudes 4, 12, 20, … 52, 62. As 1, 3, 5, … 15 every point has a sum divisible by four: the D4 lattice.
extern const std::array<GridPoint4, 256> kIq3XxsGrid;

// Magnitudes 1, 3, 5, … 15, any sum.
extern const std::array<GridPoint4, 512> kIq3SGrid;

// Values −1, 0, 1. IQ1_S and IQ1_M add kIq1Shift to all 8 values, or subtract it, before they scale them.
extern const std::array<GridPoint8, 2048> kIq1Grid;
inline constexpr float kIq1Shift = 0.125f;

// IQ2_XXS, IQ2_XS and IQ3_XXS store seven signs for eight values: the eighth is such that an even number of
// them is negative. Bit j of kEvenSigns[the seven bits] says whether value j is.
inline constexpr std::array<std::uint8_t, 128> kEvenSigns = [] {
    std::array<std::uint8_t, 128> signs{};
    for (unsigned seven = 0; seven < 128; ++seven) {
        unsigned odd = 0;
        for (unsigned rest = seven; rest != 0; rest >>= 1) odd ^= rest & 1;
        signs[seven] = static_cast<std::uint8_t>(seven | odd << 7);
    }
    return signs;
}();

// The sixteen levels of IQ4_NL and IQ4_XS: denser around zero, as weights are.
inline constexpr std::array<std::int8_t, 16> kIq4NlValues = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                             1,    13,   25,  38,  53,  69,  89,  113};

// The numbers of E2M1 (sign, two exponent bits, one mantissa bit), doubled so that they are integers. Code 8
// is −0, which an integer can't say; so −0 is read as +0, as in ggml.
inline constexpr std::array<std::int8_t, 16> kE2m1Doubled = {0, 1,  2,  3,  4,  6,  8,  12,
                                                             0, -1, -2, -3, -4, -6, -8, -12};

}  // namespace greenroom::quant
