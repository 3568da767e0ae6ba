#pragma once

// Decoding of every weight type in a kernel, and the choice of a kernel by type on the host.
//
//     Format<Block>::read(block, u, unit)      32 values of a quantized type as integers and scales
//     read_values<T>(row, n, group, values)    16 values of a row of any type as float32, bit for bit those
//                                              of quant/decode; T: a block of quant/blocks.h, F32, F16 or
//                                              BF16
//     with_type(type, f)                       on the host: f(Tag<T>{}) for the T of a quant::Type
//
// Matrices begin at multiples of 16 bytes, and as many bytes as fill the last word of 4 are readable after
// them: GgufReader's tensors, slots and DeviceBuffers are so.

#include "gpu/block_unit.cuh"
#include "gpu/blocks_basic.cuh"
#include "gpu/blocks_iq.cuh"
#include "gpu/blocks_k.cuh"
#include "quant/types.h"

#include <cstddef>
#include <cstdint>

namespace greenroom::gpu {

// The float types, by their sizes.
struct F32 {
    static constexpr quant::Type kType = quant::Type::F32;
    static constexpr int kValues = 1;
    float value;
};
struct F16 {
    static constexpr quant::Type kType = quant::Type::F16;
    static constexpr int kValues = 1;
    std::uint16_t bits;
};
struct BF16 {
    static constexpr quant::Type kType = quant::Type::BF16;
    static constexpr int kValues = 1;
    std::uint16_t bits;
};

template <class T>
constexpr bool kIsQuantized = T::kValues > 1;

// Unit `index` of a row of blocks.
template <class Block>
GR_DEVICE void read_unit(const std::byte* row, std::int64_t index, Unit& unit) {
    const std::int64_t block = index / kUnitsPerBlock<Block>;
    Format<Block>::read(row + block * static_cast<std::int64_t>(sizeof(Block)),
                        static_cast<int>(index % kUnitsPerBlock<Block>), unit);
}

// Byte j of a word as a signed number.
GR_DEVICE int signed_byte(std::uint32_t word, int j) {
    return static_cast<std::int8_t>(word >> (8 * j) & 0xff);
}

constexpr int kGroupValues = 16;

// Values of half h of the unit.
template <class Block>
GR_DEVICE void unit_values(const Unit& unit, int h, float (&values)[kGroupValues]) {
    GR_UNROLL
    for (int j = 0; j < kGroupValues; ++j) {
        const auto q = static_cast<float>(signed_byte(h == 0 ? unit.q[j / 4] : unit.q[4 + j / 4], j % 4));
        const float scale = h == 0 ? unit.scale[0] : unit.scale[1];
        const float offset = h == 0 ? unit.offset[0] : unit.offset[1];
        values[j] = Format<Block>::kHasOffset ? multiply_then_add(scale, q, offset) : scale * q;
    }
}

// Value i of a row of floats.
GR_DEVICE float float_value(const F32* row, std::int64_t i) { return row[i].value; }
GR_DEVICE float float_value(const F16* row, std::int64_t i) { return half_bits_to_float(row[i].bits); }
GR_DEVICE float float_value(const BF16* row, std::int64_t i) { return bf16_bits_to_float(row[i].bits); }

// Values 16 · group … of a row of n values of any type, as float32, zeros after the end: bit for bit those of
// quant/decode.
template <class T>
GR_DEVICE void read_values(const std::byte* row, std::int64_t n, std::int64_t group,
                           float (&values)[kGroupValues]) {
    if constexpr (kIsQuantized<T>) {
        Unit unit;
        read_unit<T>(row, group / 2, unit);
        unit_values<T>(unit, static_cast<int>(group % 2), values);
    } else {
        GR_UNROLL
        for (int j = 0; j < kGroupValues; ++j) {
            const std::int64_t i = group * kGroupValues + j;
            values[j] = i < n ? float_value(reinterpret_cast<const T*>(row), i) : 0.0F;
        }
    }
}

// ---- On the host: from a quant::Type to a type

template <class T>
struct Tag {
    using Type = T;
};

template <class... Ts>
struct TypeList {
    // Calls f(Tag<T>{}) for the T with this quant::Type; false if there is none.
    template <class F>
    static bool visit(quant::Type type, F&& f) {
        return ((type == Ts::kType ? (f(Tag<Ts>{}), true) : false) || ...);
    }
};

using FloatTypes = TypeList<F32, F16, BF16>;
using BasicTypes = TypeList<quant::BlockQ4_0, quant::BlockQ4_1, quant::BlockQ5_0, quant::BlockQ5_1,
                            quant::BlockQ8_0, quant::BlockQ1_0, quant::BlockQ2_0, quant::BlockMXFP4,
                            quant::BlockNVFP4, quant::BlockTQ1_0, quant::BlockTQ2_0>;
using KTypes = TypeList<quant::BlockQ2K, quant::BlockQ3K, quant::BlockQ4K, quant::BlockQ5K, quant::BlockQ6K>;
using IqTypes =
    TypeList<quant::BlockIQ1S, quant::BlockIQ1M, quant::BlockIQ2XXS, quant::BlockIQ2XS, quant::BlockIQ2S,
             quant::BlockIQ3XXS, quant::BlockIQ3S, quant::BlockIQ4NL, quant::BlockIQ4XS>;

// f(Tag<T>{}) for the T of a type; false for one that is no weight, or none that is quantized.
template <class F>
bool with_quantized_type(quant::Type type, F&& f) {
    return BasicTypes::visit(type, f) || KTypes::visit(type, f) || IqTypes::visit(type, f);
}
template <class F>
bool with_type(quant::Type type, F&& f) {
    return FloatTypes::visit(type, f) || with_quantized_type(type, f);
}

// What the address of a matrix is a multiple of, if it is to be read by kernels.
inline std::int64_t matrix_alignment(quant::Type type) {
    const int bytes = quant::type_info(type).block_bytes;
    return bytes % 16 == 0 ? 16 : bytes % 4 == 0 ? 4 : bytes % 2 == 0 ? 2 : 1;
}

}  // namespace greenroom::gpu
