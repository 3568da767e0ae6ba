#pragma once

// AMX: eight registers of 16 rows of 64 bytes, and sums of products of bytes of two of them. In assembly,
// since g++ 12's intrinsics say neither that they read memory nor what (it leaves out stores of a
// configuration). Intel SDM, volume 1, chapter 18; whether a process may use them: amx_permission.h.
// Other instructions than these the emulation for tests does not know (tests/support/amx_emulation.cpp).

#include <cstdint>

namespace greenroom::cpu {

inline constexpr int kTileLines = 16;
inline constexpr int kTileLine = 64;  // bytes

// While it lives its thread's tiles have these shapes: sums of 16 rows of 16 numbers of 32 bits, `left`
// operands of 16 rows of n_inner bytes, `right` ones of n_inner / 4 rows of 16 times four bytes.
class AmxTiles {
  public:
    // Tiles 0 … 3 are sums.
    static constexpr int kLeft = 4;   // tiles 4 … 5
    static constexpr int kRight = 6;  // tiles 6 … 7

    explicit AmxTiles(int n_inner) noexcept {
        struct alignas(64) {
            std::uint8_t palette = 1;
            std::uint8_t start_row = 0;
            std::uint8_t reserved[14]{};
            std::uint16_t line_bytes[16]{};
            std::uint8_t lines[16]{};
        } shapes;
        static_assert(sizeof shapes == 64);
        for (int t = 0; t < 8; ++t) {
            shapes.line_bytes[t] = static_cast<std::uint16_t>(is_left(t) ? n_inner : kTileLine);
            shapes.lines[t] = static_cast<std::uint8_t>(t < kRight ? kTileLines : n_inner / 4);
        }
        asm volatile("ldtilecfg %0" : : "m"(shapes));
    }
    ~AmxTiles() { asm volatile("tilerelease"); }
    AmxTiles(const AmxTiles&) = delete;
    AmxTiles& operator=(const AmxTiles&) = delete;

    template <int kTile>
    [[gnu::always_inline]] static void clear() noexcept {
        asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
    }
    // stride: bytes from line to line.
    template <int kTile>
    [[gnu::always_inline]] static void load(const void* lines, std::int64_t stride = kTileLine) noexcept {
        asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(lines), "r"(stride), "i"(kTile) : "memory");
    }
    template <int kTile>
    [[gnu::always_inline]] static void store(void* lines) noexcept {
        asm volatile("tilestored %%tmm%c2, (%0,%1,1)"
                     :
                     : "r"(lines), "r"(std::int64_t{kTileLine}), "i"(kTile)
                     : "memory");
    }
    // sums[r][n] += Σ_i left[r][i] · right[i / 4][n][i % 4] of signed bytes, or with unsigned ones on the
    // left.
    template <int kTo, int kLeftTile, int kRightTile, bool kUnsigned>
    [[gnu::always_inline]] static void add_products() noexcept {
        if constexpr (kUnsigned)
            asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0"
                         :
                         : "i"(kTo), "i"(kLeftTile), "i"(kRightTile));
        else
            asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0"
                         :
                         : "i"(kTo), "i"(kLeftTile), "i"(kRightTile));
    }

  private:
    static constexpr bool is_left(int t) noexcept { return t >= kLeft && t < kRight; }
};

}  // namespace greenroom::cpu
