#pragma once

// Reading cached keys and values (quant/base/kv_rows.h) in kernels, four values at a time: F32, F16, BF16,
// Q8_0 and Q4_0, bit for bit what quant::decode_row gives.
//
// A row and a head's part of it begin at a block; of Q8_0 and Q4_0 blocks that is an even address, which is
// why their bytes are loaded in words of 16 bits.

#include "gpu/device.cuh"
#include "quant/base/kv_rows.h"

#include <cstddef>
#include <cstdint>

namespace greenroom::gpu {

struct alignas(16) Quad {
    float values[4];
};

struct alignas(8) HalfQuad {
    std::uint16_t bits[4];
};

// The types that a cache can have on the GPU.
constexpr bool is_kv_type(quant::Type type) {
    using quant::Type;
    return type == Type::F32 || type == Type::F16 || type == Type::BF16 || type == Type::Q8_0 ||
           type == Type::Q4_0;
}

// The row of a position, in a ring too. (KvRows::row() is for the host.)
GR_HD std::byte* kv_row(const KvRows& rows, int position, int head = 0) {
    const auto n_rows = static_cast<unsigned>(rows.n_rows);
    return rows.data + (head * rows.n_rows + static_cast<unsigned>(position) % n_rows) * rows.row_bytes;
}

template <class T>
GR_HD bool is_aligned_for(const void* p) {
    return reinterpret_cast<std::uintptr_t>(p) % alignof(T) == 0;
}

// Values i … i + 3 of a row of n; 0 for those behind the row's end.  i: a multiple of 4.
template <quant::Type kType>
GR_DEVICE Quad load_quad(const std::byte* row, int i, int n) {
    using quant::Type;
    Quad quad{};
    if constexpr (kType == Type::F32) {
        const float* from = reinterpret_cast<const float*>(row) + i;
        if (i + 4 <= n && is_aligned_for<Quad>(from)) return *reinterpret_cast<const Quad*>(from);
        for (int j = 0; j < 4; ++j)
            if (i + j < n) quad.values[j] = from[j];
    } else if constexpr (kType == Type::F16 || kType == Type::BF16) {
        const std::uint16_t* from = reinterpret_cast<const std::uint16_t*>(row) + i;
        HalfQuad half{};
        if (i + 4 <= n && is_aligned_for<HalfQuad>(from)) {
            half = *reinterpret_cast<const HalfQuad*>(from);
        } else {
            for (int j = 0; j < 4; ++j)
                if (i + j < n) half.bits[j] = from[j];
        }
        for (int j = 0; j < 4; ++j)
            quad.values[j] =
                kType == Type::F16 ? half_bits_to_float(half.bits[j]) : bf16_bits_to_float(half.bits[j]);
    } else if constexpr (kType == Type::Q8_0) {
        // Block: half scale, 32 signed bytes.
        const std::byte* block = row + i / 32 * 34;
        const float scale = half_bits_to_float(*reinterpret_cast<const std::uint16_t*>(block));
        const std::uint32_t bytes = load_u32(block + 2 + i % 32);
        for (int j = 0; j < 4; ++j)
            quad.values[j] = scale * static_cast<float>(static_cast<std::int8_t>(bytes >> 8 * j & 0xffU));
    } else {
        static_assert(kType == Type::Q4_0);
        // Block: half scale, 16 bytes: value j in the low half of byte j, value j + 16 in its high half.
        const std::byte* block = row + i / 32 * 18;
        const float scale = half_bits_to_float(*reinterpret_cast<const std::uint16_t*>(block));
        const std::uint32_t nibbles = load_u32(block + 2 + i % 16) >> (i % 32 < 16 ? 0 : 4);
        for (int j = 0; j < 4; ++j)
            quad.values[j] = scale * static_cast<float>(static_cast<int>(nibbles >> 8 * j & 0xfU) - 8);
    }
    return quad;
}

}  // namespace greenroom::gpu
