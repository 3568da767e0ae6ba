// That the tests of this program meet the kernels for AMX, on the emulation
// (tests/support/amx_emulation.cpp).

#include "cpu/amx_tiles.h"
#include "cpu/isa.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdint>

namespace greenroom::cpu {
namespace {

class AmxEmulation : public testing::Test {
  protected:
    void SetUp() override {
        if (select_isa() != Isa::amx) GTEST_SKIP() << "the kernels for AMX need AVX-512 with VBMI besides";
    }
};

TEST_F(AmxEmulation, SumsProductsOfBytesAsTheManualSays) {
    constexpr int kInner = 32;
    alignas(64) std::uint8_t left[kTileLines][kInner];
    alignas(64) std::int8_t right[kInner / 4][kTileLine];
    for (int r = 0; r < kTileLines; ++r)
        for (int i = 0; i < kInner; ++i) left[r][i] = static_cast<std::uint8_t>(37 * r + 91 * i + 5);
    for (int i = 0; i < kInner / 4; ++i)
        for (int n = 0; n < kTileLine; ++n) right[i][n] = static_cast<std::int8_t>(53 * i + 29 * n + 3);
    const AmxTiles tiles(kInner);
    AmxTiles::load<AmxTiles::kLeft>(left, kInner);
    AmxTiles::load<AmxTiles::kRight>(right);
    AmxTiles::clear<0>();
    AmxTiles::clear<1>();
    AmxTiles::add_products<0, AmxTiles::kLeft, AmxTiles::kRight, true>();
    AmxTiles::add_products<1, AmxTiles::kLeft, AmxTiles::kRight, false>();
    AmxTiles::add_products<1, AmxTiles::kLeft, AmxTiles::kRight, false>();
    alignas(64) std::int32_t of_unsigned[kTileLines][kTileLines];
    alignas(64) std::int32_t of_signed[kTileLines][kTileLines];
    AmxTiles::store<0>(of_unsigned);
    AmxTiles::store<1>(of_signed);
    for (int r = 0; r < kTileLines; ++r)
        for (int n = 0; n < kTileLines; ++n) {
            int expected[2] = {};
            for (int i = 0; i < kInner; ++i) {
                expected[0] += left[r][i] * right[i / 4][4 * n + i % 4];
                expected[1] += 2 * static_cast<std::int8_t>(left[r][i]) * right[i / 4][4 * n + i % 4];
            }
            EXPECT_EQ(of_unsigned[r][n], expected[0]) << "row " << r << " column " << n;
            EXPECT_EQ(of_signed[r][n], expected[1]) << "row " << r << " column " << n;
        }
}

using AmxEmulationDeathTest = AmxEmulation;

TEST_F(AmxEmulationDeathTest, WhatTheManualForbidsIsIllegal) {
    EXPECT_EXIT(AmxTiles::clear<0>(), testing::KilledBySignal(SIGILL), "") << "tiles that have no shape";
    const auto multiply = [](int n_inner) {
        const AmxTiles tiles(n_inner);
        AmxTiles::add_products<0, 1, AmxTiles::kRight, false>();  // of sums, which are lines of 64 bytes
    };
    EXPECT_EXIT(multiply(32), testing::KilledBySignal(SIGILL), "") << "shapes that do not fit";
}

}  // namespace
}  // namespace greenroom::cpu
