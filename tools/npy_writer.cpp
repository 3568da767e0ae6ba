#include "tools/npy_writer.h"

#include <fmt/format.h>

#include <bit>
#include <functional>
#include <numeric>
#include <string_view>
#include <type_traits>

namespace greenroom::tools {
namespace {

static_assert(std::endian::native == std::endian::little, "values are written as they lie in memory");

std::string header_of(std::string_view descr, std::span<const std::int64_t> shape) {
    // A tuple as Python writes it: (5,) and (3, 5).
    const std::string dims = fmt::format("{}{}", fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
    std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr, dims);
    // Magic, version and length take 10 bytes; blanks and a newline round the header up to a multiple of 64.
    const std::size_t padded = (10 + text.size() + 1 + 63) / 64 * 64 - 10;
    text.resize(padded - 1, ' ');
    text += '\n';
    std::string header("\x93NUMPY\x01\x00", 8);
    header += static_cast<char>(padded & 0xFFU);
    header += static_cast<char>(padded >> 8U);
    return header + text;
}

std::int64_t n_values_of(std::span<const std::int64_t> shape) {
    return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

}  // namespace

template <class T>
NpyWriter<T>::NpyWriter(const std::string& path, std::span<const std::int64_t> shape)
    : NpyWriter(path, shape, header_of(std::is_same_v<T, float> ? "<f4" : "<i4", shape)) {}

template <class T>
NpyWriter<T>::NpyWriter(const std::string& path, std::span<const std::int64_t> shape,
                        const std::string& header)
    : data_start_(static_cast<std::int64_t>(header.size())),
      file_(path, data_start_ + n_values_of(shape) * static_cast<std::int64_t>(sizeof(T))) {
    file_.write_at(0, header.data(), header.size());
}

template <class T>
void NpyWriter<T>::write_at(std::int64_t first, std::span<const T> values) {
    file_.write_at(data_start_ + first * static_cast<std::int64_t>(sizeof(T)), values.data(),
                   values.size_bytes());
}

template class NpyWriter<float>;
template class NpyWriter<std::int32_t>;

}  // namespace greenroom::tools
