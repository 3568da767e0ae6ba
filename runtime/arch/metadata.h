#pragma once

// ArchMetadata: the "<architecture>.*" keys of a GGUF, range-checked. What an architecture file reads its
// numbers with.

#include "quant/gguf.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::runtime {

// Bounds that no real model comes near; they keep products of two dimensions far from overflow.
inline constexpr std::uint64_t kMaxDim = std::uint64_t{1} << 24;
inline constexpr std::uint64_t kMaxLayers = 1024;

class ArchMetadata {
  public:
    ArchMetadata(const quant::Gguf& gguf, std::string_view architecture)
        : gguf_(gguf), prefix_(architecture) {}

    const quant::Gguf& gguf() const noexcept { return gguf_; }

    // An integer key that must be there, or may be missing (then `fallback`). Error{bad_input} outside
    // [least, most].
    int require_int(std::string_view key, std::uint64_t least, std::uint64_t most = kMaxDim) const;
    int find_int(std::string_view key, int fallback, std::uint64_t least = 0,
                 std::uint64_t most = kMaxDim) const;

    // A finite number in [least, most], or `fallback`.
    float find_float(std::string_view key, float fallback, double least, double most) const;

    bool find_bool(std::string_view key, bool fallback) const;
    // A list of at least n truth values, of which the first n; empty where the key is missing.
    std::vector<bool> find_bools(std::string_view key, int n) const;
    std::optional<std::string_view> find_string(std::string_view key) const;
    bool has(std::string_view key) const { return gguf_.find(full(key)) != nullptr; }

    std::string full(std::string_view key) const { return prefix_ + "." + std::string(key); }

    // Throws Error{unsupported}: this value is well-formed, but the architecture as we know it does not have
    // it.
    [[noreturn]] void unsupported(std::string_view key, std::string_view found,
                                  std::string_view expected) const;

  private:
    const quant::Gguf& gguf_;
    std::string prefix_;
};

}  // namespace greenroom::runtime
