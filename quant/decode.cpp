#include "quant/decode.h"

#include "quant/decode_block.h"
#include "quant/half.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace greenroom::quant {
namespace {

void decode_f32(const std::byte* blocks, float* out, std::int64_t n_values) noexcept {
    std::copy_n(blocks, n_values * 4, reinterpret_cast<std::byte*>(out));
}

template <float (*to_f32)(std::uint16_t)>
void decode_16_bit(const std::byte* blocks, float* out, std::int64_t n_values) noexcept {
    for (std::int64_t i = 0; i < n_values; ++i) {
        std::uint16_t bits;
        std::memcpy(&bits, blocks + i * 2, sizeof bits);
        out[i] = to_f32(bits);
    }
}

template <class Block>
void decode_blocks(const std::byte* blocks, float* out, std::int64_t n_values) noexcept {
    assert(n_values % Block::kValues == 0);
    const std::int64_t n_blocks = n_values / Block::kValues;
    for (std::int64_t i = 0; i < n_blocks; ++i) {
        const std::byte* block = blocks + i * static_cast<std::int64_t>(sizeof(Block));
        if constexpr (alignof(Block) == 1) {
            decode_block(*reinterpret_cast<const Block*>(block), out + i * Block::kValues);
        } else {
            Block aligned;
            std::memcpy(&aligned, block, sizeof aligned);
            decode_block(aligned, out + i * Block::kValues);
        }
    }
}

struct Decoder {
    Type type;
    DecodeFn decode;
};

template <class Block>
constexpr Decoder kDecoderOf = {Block::kType, decode_blocks<Block>};

// Every type but Q8_1, which exists only inside of matrix products, and those whose values aren't small
// floats.
constexpr Decoder kDecoders[] = {
    {Type::F32, decode_f32},
    {Type::F16, decode_16_bit<f16_to_f32>},
    {Type::BF16, decode_16_bit<bf16_to_f32>},
    kDecoderOf<BlockQ4_0>,
    kDecoderOf<BlockQ4_1>,
    kDecoderOf<BlockQ5_0>,
    kDecoderOf<BlockQ5_1>,
    kDecoderOf<BlockQ8_0>,
    kDecoderOf<BlockQ1_0>,
    kDecoderOf<BlockQ2_0>,
    kDecoderOf<BlockMXFP4>,
    kDecoderOf<BlockNVFP4>,
    kDecoderOf<BlockTQ1_0>,
    kDecoderOf<BlockTQ2_0>,
    kDecoderOf<BlockQ2K>,
    kDecoderOf<BlockQ3K>,
    kDecoderOf<BlockQ4K>,
    kDecoderOf<BlockQ5K>,
    kDecoderOf<BlockQ6K>,
    kDecoderOf<BlockQ8K>,
    kDecoderOf<BlockIQ1S>,
    kDecoderOf<BlockIQ1M>,
    kDecoderOf<BlockIQ2XXS>,
    kDecoderOf<BlockIQ2XS>,
    kDecoderOf<BlockIQ2S>,
    kDecoderOf<BlockIQ3XXS>,
    kDecoderOf<BlockIQ3S>,
    kDecoderOf<BlockIQ4NL>,
    kDecoderOf<BlockIQ4XS>,
};

}  // namespace

DecodeFn find_decoder(Type type) noexcept {
    for (const Decoder& decoder : kDecoders)
        if (decoder.type == type) return decoder.decode;
    return nullptr;
}

void decode_row(Type type, const std::byte* blocks, float* out, std::int64_t n_values) noexcept {
    const DecodeFn decode = find_decoder(type);
    assert(decode != nullptr);
    decode(blocks, out, n_values);
}

}  // namespace greenroom::quant
