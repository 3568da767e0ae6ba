#pragma once

// The tensor types of the ggml format family: ids as they stand in a GGUF file, and how many values and bytes
// make one block. The layouts of the blocks themselves are in blocks.h, their meaning
// in decode_block.h.
//
// Source of the ids and sizes: the GGUF specification (ggml, docs/gguf.md) and its quantization descriptions.

#include <cstdint>
#include <string_view>

namespace greenroom::quant {

// The numbers are written in files: don't renumber.
enum class Type : std::uint32_t {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q8_1 = 9,
    Q2_K = 10,
    Q3_K = 11,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    Q8_K = 15,
    IQ2_XXS = 16,
    IQ2_XS = 17,
    IQ3_XXS = 18,
    IQ1_S = 19,
    IQ4_NL = 20,
    IQ3_S = 21,
    IQ2_S = 22,
    IQ4_XS = 23,
    I8 = 24,
    I16 = 25,
    I32 = 26,
    I64 = 27,
    F64 = 28,
    IQ1_M = 29,
    BF16 = 30,
    TQ1_0 = 34,
    TQ2_0 = 35,
    MXFP4 = 39,
    NVFP4 = 40,
    Q1_0 = 41,
    Q2_0 = 42,
};

struct TypeInfo {
    Type type;
    std::string_view name;  // as llama.cpp prints it, in upper case: "Q4_K"
    int block_values;       // values per block; a row is a whole number of blocks
    int block_bytes;        // bytes per block
    bool decodable;         // decode_row() turns it into float32
};

// The type with this id, or nullptr where the format knows none (or has withdrawn it).
const TypeInfo* find_type(std::uint32_t id) noexcept;

// The type with this name ("Q4_K", "q4_k"), or nullptr.
const TypeInfo* find_type(std::string_view name) noexcept;

// For a type that has already been validated.
const TypeInfo& type_info(Type type) noexcept;

inline std::string_view type_name(Type type) noexcept { return type_info(type).name; }

// Bytes of a row of n_values values; n_values is a multiple of block_values.
inline std::int64_t row_bytes(Type type, std::int64_t n_values) noexcept {
    const TypeInfo& info = type_info(type);
    return n_values / info.block_values * info.block_bytes;
}

}  // namespace greenroom::quant
