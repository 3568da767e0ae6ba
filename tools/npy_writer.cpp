#include "tools/npy_writer.h"

#include "cache/npy.h"

#include <bit>
#include <functional>
#include <numeric>
#include <type_traits>

namespace greenroom::tools {
namespace {

static_assert(std::endian::native == std::endian::little, "values are written as they lie in memory");

std::int64_t n_values_of(std::span<const std::int64_t> shape) {
    return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

}  // namespace

template <class T>
NpyWriter<T>::NpyWriter(const std::string& path, std::span<const std::int64_t> shape)
    : NpyWriter(path, shape, cache::npy_header(std::is_same_v<T, float> ? "<f4" : "<i4", shape)) {}

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
