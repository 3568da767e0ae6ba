#include "quant/gguf_writer.h"

#include "quant/base/error.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <system_error>

namespace greenroom::quant {
namespace {

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr std::uint32_t kVersion = 3;

void put_bytes(std::vector<std::byte>& out, const void* data, std::size_t bytes) {
    if (bytes == 0) return;
    // Not insert(): g++ 12 sees an overflow in it that is not there.
    const std::size_t start = out.size();
    out.resize(start + bytes);
    std::memcpy(out.data() + start, data, bytes);
}

template <class T>
void put(std::vector<std::byte>& out, T value) {
    put_bytes(out, &value, sizeof value);
}

void put_string(std::vector<std::byte>& out, std::string_view text) {
    put(out, static_cast<std::uint64_t>(text.size()));
    put_bytes(out, text.data(), text.size());
}

std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) {
    return (value + alignment - 1) / alignment * alignment;
}

}  // namespace

GgufWriter::GgufWriter(std::uint64_t alignment) : alignment_(alignment) {
    GR_CHECK(std::has_single_bit(alignment));
    if (alignment != 32) add_u32("general.alignment", static_cast<std::uint32_t>(alignment));
}

void GgufWriter::begin_entry(std::string_view key, GgufType type) {
    put_string(entries_, key);
    put(entries_, static_cast<std::uint32_t>(type));
    ++n_entries_;
}

void GgufWriter::add_u32(std::string_view key, std::uint32_t value) {
    begin_entry(key, GgufType::u32);
    put(entries_, value);
}

void GgufWriter::add_i32(std::string_view key, std::int32_t value) {
    begin_entry(key, GgufType::i32);
    put(entries_, value);
}

void GgufWriter::add_u64(std::string_view key, std::uint64_t value) {
    begin_entry(key, GgufType::u64);
    put(entries_, value);
}

void GgufWriter::add_f32(std::string_view key, float value) {
    begin_entry(key, GgufType::f32);
    put(entries_, value);
}

void GgufWriter::add_bool(std::string_view key, bool value) {
    begin_entry(key, GgufType::boolean);
    put(entries_, static_cast<std::uint8_t>(value));
}

void GgufWriter::add_string(std::string_view key, std::string_view value) {
    begin_entry(key, GgufType::string);
    put_string(entries_, value);
}

void GgufWriter::add_strings(std::string_view key, std::span<const std::string> values) {
    begin_entry(key, GgufType::array);
    put(entries_, static_cast<std::uint32_t>(GgufType::string));
    put(entries_, static_cast<std::uint64_t>(values.size()));
    for (const std::string& value : values) put_string(entries_, value);
}

void GgufWriter::add_i32s(std::string_view key, std::span<const std::int32_t> values) {
    begin_entry(key, GgufType::array);
    put(entries_, static_cast<std::uint32_t>(GgufType::i32));
    put(entries_, static_cast<std::uint64_t>(values.size()));
    put_bytes(entries_, values.data(), values.size_bytes());
}

void GgufWriter::add_f32s(std::string_view key, std::span<const float> values) {
    begin_entry(key, GgufType::array);
    put(entries_, static_cast<std::uint32_t>(GgufType::f32));
    put(entries_, static_cast<std::uint64_t>(values.size()));
    put_bytes(entries_, values.data(), values.size_bytes());
}

void GgufWriter::add(const GgufEntry& entry) {
    begin_entry(entry.key, entry.value.type());
    put_value(entry.value);
}

void GgufWriter::put_value(const GgufValue& value) {
    switch (value.type()) {
        case GgufType::u8:
            put(entries_, static_cast<std::uint8_t>(*value.as_uint()));
            break;
        case GgufType::i8:
            put(entries_, static_cast<std::int8_t>(*value.as_int()));
            break;
        case GgufType::u16:
            put(entries_, static_cast<std::uint16_t>(*value.as_uint()));
            break;
        case GgufType::i16:
            put(entries_, static_cast<std::int16_t>(*value.as_int()));
            break;
        case GgufType::u32:
            put(entries_, static_cast<std::uint32_t>(*value.as_uint()));
            break;
        case GgufType::i32:
            put(entries_, static_cast<std::int32_t>(*value.as_int()));
            break;
        case GgufType::u64:
            put(entries_, *value.as_uint());
            break;
        case GgufType::i64:
            put(entries_, *value.as_int());
            break;
        case GgufType::f32:
            put(entries_, static_cast<float>(*value.as_double()));
            break;
        case GgufType::f64:
            put(entries_, *value.as_double());
            break;
        case GgufType::boolean:
            put(entries_, static_cast<std::uint8_t>(*value.as_bool()));
            break;
        case GgufType::string:
            put_string(entries_, *value.as_string());
            break;
        case GgufType::array: {
            const GgufArray& array = *value.as_array();
            put(entries_, static_cast<std::uint32_t>(array.element_type()));
            put(entries_, static_cast<std::uint64_t>(array.size()));
            for (std::size_t i = 0; i < array.size(); ++i) put_value(array[i]);
            break;
        }
    }
}

void GgufWriter::add_tensor(std::string_view name, const TensorView& view) {
    if (std::any_of(tensors_.begin(), tensors_.end(), [name](const Tensor& t) { return t.name == name; }))
        fail(ErrorKind::bad_input, "tensor {} added twice", name);
    tensors_.push_back({std::string(name), view, data_bytes_});
    data_bytes_ += align_up(static_cast<std::uint64_t>(view.bytes()), alignment_);
}

std::vector<std::byte> GgufWriter::header() const {
    std::vector<std::byte> out;
    put(out, kMagic);
    put(out, kVersion);
    put(out, static_cast<std::uint64_t>(tensors_.size()));
    put(out, n_entries_);
    put_bytes(out, entries_.data(), entries_.size());
    for (const Tensor& tensor : tensors_) {
        put_string(out, tensor.name);
        put(out, static_cast<std::uint32_t>(tensor.view.n_dims));
        for (int d = 0; d < tensor.view.n_dims; ++d)
            put(out, static_cast<std::uint64_t>(tensor.view.shape[static_cast<std::size_t>(d)]));
        put(out, static_cast<std::uint32_t>(tensor.view.type));
        put(out, tensor.offset);
    }
    out.resize(align_up(out.size(), alignment_));
    return out;
}

std::vector<std::byte> GgufWriter::serialize() const {
    std::vector<std::byte> out = header();
    const std::size_t data_start = out.size();
    out.resize(data_start + data_bytes_);
    for (const Tensor& tensor : tensors_)
        std::memcpy(out.data() + data_start + tensor.offset, tensor.view.data,
                    static_cast<std::size_t>(tensor.view.bytes()));
    return out;
}

void GgufWriter::write(const std::string& path) const {
    const auto give_up = [&path](int error) {
        std::error_code ignored;
        if (std::filesystem::is_regular_file(path, ignored)) std::filesystem::remove(path, ignored);
        fail(ErrorKind::io, "{}: cannot write: {}", path, std::generic_category().message(error));
    };
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "wb"), &std::fclose);
    if (!file) fail(ErrorKind::io, "{}: cannot create: {}", path, std::generic_category().message(errno));
    const auto append = [&](const std::byte* data, std::size_t bytes) {
        if (bytes != 0 && std::fwrite(data, 1, bytes, file.get()) != bytes) give_up(errno);
    };

    const std::vector<std::byte> head = header();
    append(head.data(), head.size());
    const std::vector<std::byte> padding(alignment_);
    for (const Tensor& tensor : tensors_) {
        const auto bytes = static_cast<std::uint64_t>(tensor.view.bytes());
        append(tensor.view.data, bytes);
        append(padding.data(), align_up(bytes, alignment_) - bytes);
    }
    // A full disk may only show when the last buffer is flushed.
    if (std::fclose(file.release()) != 0) give_up(errno);
}

}  // namespace greenroom::quant
