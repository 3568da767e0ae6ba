#pragma once

// The blocks of the ggml format family, as they stand in a GGUF file and in a slot. What a block means, value
// by value, is written down as code in decode_basic.cpp, decode_k.cpp and decode_iq.cpp.
//
// Conventions of the family, used below without further words:
//   d, dmin   scales of the whole block; half floats (half.h) stored as std::uint16_t, little-endian
//   q         the small integer stored for a value; x is the value
//   qs        the q's or their low bits; qh: further, higher bits of them
//   scales    a small integer per group of 16 or 32 values
//   nibbles   the low four bits of a byte come first
//   halves    byte j of n nibble bytes holds value j (low nibble) and value j + n (high nibble)
//
// The blocks are packed (alignment 1), because most sizes are odd multiples of two: the second block of a row
// is already unaligned for anything wider. So a pointer to raw bytes may be used as a pointer to blocks
// wherever it points. Q8_1 and Q8_K hold activations, never come from a file, and have the alignment of their
// widest member.

#include "quant/types.h"

#include <bit>
#include <cstdint>

namespace greenroom::quant {

static_assert(std::endian::native == std::endian::little, "blocks are used as they stand in the file");

// ---- Groups of 32, 64 or 128 values with one scale ----

// 4.5 bits per value. x = d · (q − 8). qs: nibbles, halves.
struct [[gnu::packed]] BlockQ4_0 {
    static constexpr Type kType = Type::Q4_0;
    static constexpr int kValues = 32;
    std::uint16_t d;
    std::uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_0) == 18);

// 5 bits per value. x = d · q + m; m is a half float. qs: nibbles, halves.
struct [[gnu::packed]] BlockQ4_1 {
    static constexpr Type kType = Type::Q4_1;
    static constexpr int kValues = 32;
    std::uint16_t d;
    std::uint16_t m;
    std::uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_1) == 20);

// 5.5 bits per value. x = d · (q − 16). qs: low four bits, halves; qh: the fifth bit of value j is bit j.
struct [[gnu::packed]] BlockQ5_0 {
    static constexpr Type kType = Type::Q5_0;
    static constexpr int kValues = 32;
    std::uint16_t d;
    std::uint32_t qh;
    std::uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_0) == 22);

// 6 bits per value. x = d · q + m. qs and qh as in Q5_0.
struct [[gnu::packed]] BlockQ5_1 {
    static constexpr Type kType = Type::Q5_1;
    static constexpr int kValues = 32;
    std::uint16_t d;
    std::uint16_t m;
    std::uint32_t qh;
    std::uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_1) == 24);

// 8.5 bits per value. x = d · q.
struct [[gnu::packed]] BlockQ8_0 {
    static constexpr Type kType = Type::Q8_0;
    static constexpr int kValues = 32;
    std::uint16_t d;
    std::int8_t qs[32];
};
static_assert(sizeof(BlockQ8_0) == 34);

// 1.125 bits per value. x = d where the bit is set, −d where it isn't. Value j is bit j % 8 of byte j / 8.
struct [[gnu::packed]] BlockQ1_0 {
    static constexpr Type kType = Type::Q1_0;
    static constexpr int kValues = 128;
    std::uint16_t d;
    std::uint8_t qs[16];
};
static_assert(sizeof(BlockQ1_0) == 18);

// 2.25 bits per value. x = d · (q − 1), so −d, 0, d or 2d. Value j is bits 2·(j % 4) and up of byte j / 4.
struct [[gnu::packed]] BlockQ2_0 {
    static constexpr Type kType = Type::Q2_0;
    static constexpr int kValues = 64;
    std::uint16_t d;
    std::uint8_t qs[16];
};
static_assert(sizeof(BlockQ2_0) == 18);

// 4.25 bits per value, OCP MXFP4. x = 2^(e − 127) · E2M1 number. qs: nibbles, halves.
struct [[gnu::packed]] BlockMXFP4 {
    static constexpr Type kType = Type::MXFP4;
    static constexpr int kValues = 32;
    std::uint8_t e;  // E8M0
    std::uint8_t qs[16];
};
static_assert(sizeof(BlockMXFP4) == 17);

// 4.5 bits per value, NVIDIA's FP4. Four groups of 16, each with an unsigned E4M3 scale: x = scale · E2M1
// number. qs: nibbles, halves within the 8 bytes of a group.
struct [[gnu::packed]] BlockNVFP4 {
    static constexpr Type kType = Type::NVFP4;
    static constexpr int kValues = 64;
    std::uint8_t scales[4];
    std::uint8_t qs[32];
};
static_assert(sizeof(BlockNVFP4) == 36);

// 4.5 bits per value. x = d · (one of 16 unevenly spaced integers). qs: nibbles, halves.
struct [[gnu::packed]] BlockIQ4NL {
    static constexpr Type kType = Type::IQ4_NL;
    static constexpr int kValues = 32;
    std::uint16_t d;
    std::uint8_t qs[16];
};
static_assert(sizeof(BlockIQ4NL) == 18);

// ---- Ternary, 256 values: x = d · (−1, 0 or 1) ----

// 1.6875 bits per value: five base-3 digits to a byte of qs, four to a byte of qh.
struct [[gnu::packed]] BlockTQ1_0 {
    static constexpr Type kType = Type::TQ1_0;
    static constexpr int kValues = 256;
    std::uint8_t qs[48];
    std::uint8_t qh[4];
    std::uint16_t d;
};
static_assert(sizeof(BlockTQ1_0) == 54);

// 2.0625 bits per value: four to a byte, 32 values apart.
struct [[gnu::packed]] BlockTQ2_0 {
    static constexpr Type kType = Type::TQ2_0;
    static constexpr int kValues = 256;
    std::uint8_t qs[64];
    std::uint16_t d;
};
static_assert(sizeof(BlockTQ2_0) == 66);

// ---- K-quants: super-blocks of 256 values whose groups have quantized scales ----

// 2.625 bits per value. 16 groups of 16: x = d · scale · q − dmin · min; a byte of scales has the group's
// scale in its low and its min in its high nibble.
struct [[gnu::packed]] BlockQ2K {
    static constexpr Type kType = Type::Q2_K;
    static constexpr int kValues = 256;
    std::uint8_t scales[16];
    std::uint8_t qs[64];
    std::uint16_t d;
    std::uint16_t dmin;
};
static_assert(sizeof(BlockQ2K) == 84);

// 3.4375 bits per value. 16 groups of 16: x = d · (scale − 32) · (q − 4), q of two bits in qs and the third
// in hmask. scales: 16 numbers of 6 bits.
struct [[gnu::packed]] BlockQ3K {
    static constexpr Type kType = Type::Q3_K;
    static constexpr int kValues = 256;
    std::uint8_t hmask[32];
    std::uint8_t qs[64];
    std::uint8_t scales[12];
    std::uint16_t d;
};
static_assert(sizeof(BlockQ3K) == 110);

// 4.5 bits per value. 8 groups of 32: x = d · scale · q − dmin · min. scales: see ScalesAndMins. Groups 2c
// and 2c + 1 share 32 bytes of qs, the even one in the low nibbles.
struct [[gnu::packed]] BlockQ4K {
    static constexpr Type kType = Type::Q4_K;
    static constexpr int kValues = 256;
    std::uint16_t d;
    std::uint16_t dmin;
    std::uint8_t scales[12];
    std::uint8_t qs[128];
};
static_assert(sizeof(BlockQ4K) == 144);

// 5.5 bits per value. As Q4_K, with the fifth bit of value j of group g in bit g of qh[j].
struct [[gnu::packed]] BlockQ5K {
    static constexpr Type kType = Type::Q5_K;
    static constexpr int kValues = 256;
    std::uint16_t d;
    std::uint16_t dmin;
    std::uint8_t scales[12];
    std::uint8_t qh[32];
    std::uint8_t qs[128];
};
static_assert(sizeof(BlockQ5K) == 176);

// 6.5625 bits per value. 16 groups of 16: x = d · scale · (q − 32), q of four bits in ql and two in qh.
struct [[gnu::packed]] BlockQ6K {
    static constexpr Type kType = Type::Q6_K;
    static constexpr int kValues = 256;
    std::uint8_t ql[128];
    std::uint8_t qh[64];
    std::int8_t scales[16];
    std::uint16_t d;
};
static_assert(sizeof(BlockQ6K) == 210);

// ---- IQ types, 256 values: points of a fixed grid (iq_tables.h), scaled ----

// 2.0625 bits per value. 8 bytes of qs per group of 32: four one-byte grid indices, then 32 bits of which
// four times seven are signs and the top four the scale.
struct [[gnu::packed]] BlockIQ2XXS {
    static constexpr Type kType = Type::IQ2_XXS;
    static constexpr int kValues = 256;
    std::uint16_t d;
    std::uint8_t qs[64];
};
static_assert(sizeof(BlockIQ2XXS) == 66);

// 2.3125 bits per value. A word of qs per 8 values: 9 bits of grid index, 7 of signs. scales: a nibble
// per 16.
struct [[gnu::packed]] BlockIQ2XS {
    static constexpr Type kType = Type::IQ2_XS;
    static constexpr int kValues = 256;
    std::uint16_t d;
    std::uint16_t qs[32];
    std::uint8_t scales[8];
};
static_assert(sizeof(BlockIQ2XS) == 74);

// 2.5625 bits per value. Per 8 values: 8 low bits of the grid index in qs, two more in qh, a byte of signs.
// scales: a nibble per 16.
struct [[gnu::packed]] BlockIQ2S {
    static constexpr Type kType = Type::IQ2_S;
    static constexpr int kValues = 256;
    std::uint16_t d;
    std::uint8_t qs[32];
    std::uint8_t signs[32];
    std::uint8_t qh[8];
    std::uint8_t scales[8];
};
static_assert(sizeof(BlockIQ2S) == 82);

// 3.0625 bits per value. A byte of qs is the grid index of 4 values; per 32 values a word of four times seven
// signs and a four-bit scale, as in IQ2_XXS.
struct [[gnu::packed]] BlockIQ3XXS {
    static constexpr Type kType = Type::IQ3_XXS;
    static constexpr int kValues = 256;
    std::uint16_t d;
    std::uint8_t qs[64];
    std::uint32_t scales_and_signs[8];
};
static_assert(sizeof(BlockIQ3XXS) == 98);

// 3.4375 bits per value. Per 4 values: 8 low bits of the grid index in qs, the ninth in qh. signs: a bit per
// value. scales: a nibble per 32.
struct [[gnu::packed]] BlockIQ3S {
    static constexpr Type kType = Type::IQ3_S;
    static constexpr int kValues = 256;
    std::uint16_t d;
    std::uint8_t qs[64];
    std::uint8_t qh[8];
    std::uint8_t signs[32];
    std::uint8_t scales[4];
};
static_assert(sizeof(BlockIQ3S) == 110);

// 1.5625 bits per value. Per 8 values: 8 low bits of the grid index in qs. A word of qh per 32 values: four
// times three high bits of the index, three bits of scale, and the sign of a shift.
struct [[gnu::packed]] BlockIQ1S {
    static constexpr Type kType = Type::IQ1_S;
    static constexpr int kValues = 256;
    std::uint16_t d;
    std::uint8_t qs[32];
    std::uint16_t qh[8];
};
static_assert(sizeof(BlockIQ1S) == 50);

// 1.75 bits per value. Per 8 values: 8 low bits of the grid index in qs, and in a nibble of qh three high
// bits and the sign of the shift. A word of scales has four 3-bit scales, each for 16 values, and four bits
// of d.
struct [[gnu::packed]] BlockIQ1M {
    static constexpr Type kType = Type::IQ1_M;
    static constexpr int kValues = 256;
    std::uint8_t qs[32];
    std::uint8_t qh[16];
    std::uint16_t scales[4];
};
static_assert(sizeof(BlockIQ1M) == 56);

// 4.25 bits per value. 8 groups of 32: x = d · (scale − 32) · (one of the 16 integers of IQ4_NL). Four bits
// of a scale are in scales_l, two in scales_h. qs: nibbles, halves within the 16 bytes of a group.
struct [[gnu::packed]] BlockIQ4XS {
    static constexpr Type kType = Type::IQ4_XS;
    static constexpr int kValues = 256;
    std::uint16_t d;
    std::uint16_t scales_h;
    std::uint8_t scales_l[4];
    std::uint8_t qs[128];
};
static_assert(sizeof(BlockIQ4XS) == 136);

// ---- Activations ----

// x = d · q. s = d · Σq, so that a dot product with a type that has a min takes that part from one product.
struct BlockQ8_1 {
    static constexpr Type kType = Type::Q8_1;
    static constexpr int kValues = 32;
    std::uint16_t d;
    std::uint16_t s;
    std::int8_t qs[32];
};
static_assert(sizeof(BlockQ8_1) == 36);

// x = d · q, with a float32 scale. bsums[g] = Σq of group g of 16, for the mins of the K-quants.
struct BlockQ8K {
    static constexpr Type kType = Type::Q8_K;
    static constexpr int kValues = 256;
    float d;
    std::int8_t qs[256];
    std::int16_t bsums[16];
};
static_assert(sizeof(BlockQ8K) == 292);

// ---- The scales of Q4_K and Q5_K ----

// Eight 6-bit scales s0..s7 and eight 6-bit mins m0..m7 in 12 bytes, for i = 0..3 (high bits to the left):
//   byte i:      two top bits of s(i+4), all of s(i)
//   byte i + 4:  two top bits of m(i+4), all of m(i)
//   byte i + 8:  low four bits of m(i+4), low four bits of s(i+4)
struct ScalesAndMins {
    std::uint8_t scale[8];
    std::uint8_t min[8];
};

constexpr ScalesAndMins unpack_scales(const std::uint8_t (&packed)[12]) noexcept {
    ScalesAndMins s{};
    for (int i = 0; i < 4; ++i) {
        s.scale[i] = packed[i] & 0x3f;
        s.min[i] = packed[i + 4] & 0x3f;
        s.scale[i + 4] = static_cast<std::uint8_t>((packed[i] >> 6 << 4) | (packed[i + 8] & 0xf));
        s.min[i + 4] = static_cast<std::uint8_t>((packed[i + 4] >> 6 << 4) | (packed[i + 8] >> 4));
    }
    return s;
}

// All numbers below 64.
constexpr void pack_scales(const ScalesAndMins& s, std::uint8_t (&packed)[12]) noexcept {
    for (int i = 0; i < 4; ++i) {
        packed[i] = static_cast<std::uint8_t>((s.scale[i + 4] >> 4 << 6) | s.scale[i]);
        packed[i + 4] = static_cast<std::uint8_t>((s.min[i + 4] >> 4 << 6) | s.min[i]);
        packed[i + 8] = static_cast<std::uint8_t>((s.min[i + 4] & 0xf) << 4 | (s.scale[i + 4] & 0xf));
    }
}

}  // namespace greenroom::quant
