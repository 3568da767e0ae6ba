#pragma once

// The names of llama.cpp's file types: which mixture of tensor types a file was quantized to.

#include <cstdint>
#include <string_view>

namespace greenroom::runtime {

// "Q4_K_M" for 15 and so on: what the metadata general.file_type means. Empty for a number without a name.
std::string_view file_type_name(std::uint64_t file_type) noexcept;

}  // namespace greenroom::runtime
