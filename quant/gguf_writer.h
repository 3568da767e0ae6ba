#pragma once

// GgufWriter: collects metadata and tensors and writes a GGUF version 3 file, little-endian. For tools and
// tests.
//
// Tensor bytes are not copied: they must live until serialize() or write(). Keys and tensors keep their
// order.

#include "quant/gguf.h"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::quant {

class GgufWriter {
  public:
    explicit GgufWriter(std::uint64_t alignment = 32);

    void add_u32(std::string_view key, std::uint32_t value);
    void add_i32(std::string_view key, std::int32_t value);
    void add_u64(std::string_view key, std::uint64_t value);
    void add_f32(std::string_view key, float value);
    void add_bool(std::string_view key, bool value);
    void add_string(std::string_view key, std::string_view value);
    void add_strings(std::string_view key, std::span<const std::string> values);
    void add_i32s(std::string_view key, std::span<const std::int32_t> values);
    void add_f32s(std::string_view key, std::span<const float> values);

    // Copies an entry of another file as it stands there, nested arrays included.
    void add(const GgufEntry& entry);

    // The view's data must hold view.bytes() bytes. Error{bad_input} for a duplicate name.
    void add_tensor(std::string_view name, const TensorView& view);

    // The whole file in memory.
    std::vector<std::byte> serialize() const;

    // Writes the file; Error{io} when the system refuses (the partial file is removed).
    void write(const std::string& path) const;

  private:
    struct Tensor {
        std::string name;
        TensorView view;
        std::uint64_t offset;
    };

    void begin_entry(std::string_view key, GgufType type);
    void put_value(const GgufValue& value);
    std::vector<std::byte> header() const;

    std::uint64_t alignment_;
    std::uint64_t n_entries_ = 0;
    std::vector<std::byte> entries_;  // serialized
    std::vector<Tensor> tensors_;
    std::uint64_t data_bytes_ = 0;
};

}  // namespace greenroom::quant
