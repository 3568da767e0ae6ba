#include "cache/npy.h"

#include "quant/base/error.h"
#include "quant/mapped_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bit>
#include <charconv>
#include <cstring>
#include <fstream>
#include <functional>
#include <numeric>
#include <optional>

namespace greenroom::cache {
namespace {

static_assert(std::endian::native == std::endian::little, "values are kept as they lie in the file");

constexpr std::string_view kMagic("\x93NUMPY\x01\x00", 8);
constexpr std::size_t kPreamble = 10;  // magic, version, length of the dictionary

// What stands behind 'key': in the dictionary, blanks skipped; empty if the key is missing.
std::string_view value_of(std::string_view dictionary, std::string_view key) {
    const std::string quoted = fmt::format("'{}':", key);
    const std::size_t at = dictionary.find(quoted);
    if (at == std::string_view::npos) return {};
    const std::string_view rest = dictionary.substr(at + quoted.size());
    const std::size_t start = rest.find_first_not_of(' ');
    return start == std::string_view::npos ? std::string_view{} : rest.substr(start);
}

// A tuple of whole numbers: "(3, 5)", "(5,)", "()".
std::optional<std::vector<std::int64_t>> parse_shape(std::string_view text) {
    if (!text.starts_with('(')) return std::nullopt;
    std::vector<std::int64_t> shape;
    const char* at = text.data() + 1;
    const char* const end = text.data() + text.size();
    while (at != end && *at != ')') {
        std::int64_t dim = 0;
        const auto [next, error] = std::from_chars(at, end, dim);
        if (error != std::errc{} || dim < 0) return std::nullopt;
        shape.push_back(dim);
        at = next;
        while (at != end && (*at == ',' || *at == ' ')) ++at;
    }
    if (at == end) return std::nullopt;
    return shape;
}

// The number of values, or nothing if `available` bytes cannot hold them.
std::optional<std::size_t> count_values(std::span<const std::int64_t> shape, std::size_t available,
                                        std::size_t value_bytes) {
    std::size_t n = 1;
    for (const std::int64_t dim : shape) {
        if (dim == 0) return 0;
        if (n > available / value_bytes / static_cast<std::size_t>(dim)) return std::nullopt;
        n *= static_cast<std::size_t>(dim);
    }
    return n;
}

}  // namespace

std::string npy_header(std::string_view descr, std::span<const std::int64_t> shape) {
    // A tuple as Python writes it: (5,) and (3, 5).
    const std::string dims = fmt::format("{}{}", fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
    std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr, dims);
    const std::size_t padded = (kPreamble + text.size() + 1 + 63) / 64 * 64 - kPreamble;
    text.resize(padded - 1, ' ');
    text += '\n';
    std::string header(kMagic);
    header += static_cast<char>(padded & 0xFFU);
    header += static_cast<char>(padded >> 8U);
    return header + text;
}

template <class T>
NpyArray<T> read_npy(const std::string& path, std::string_view descr) {
    const quant::MappedFile file(path);
    const std::string_view bytes(reinterpret_cast<const char*>(file.data()), file.size());
    if (bytes.size() < kPreamble || !bytes.starts_with(kMagic))
        fail(ErrorKind::bad_input,
             "{}: not an array in .npy format, version 1.0. Write it again with numpy.save", path);
    const std::size_t length =
        static_cast<unsigned char>(bytes[8]) + 256U * static_cast<unsigned char>(bytes[9]);
    const std::string_view dictionary = bytes.substr(kPreamble, length);
    const std::string expected_descr = fmt::format("'{}'", descr);
    if (!value_of(dictionary, "descr").starts_with(expected_descr) ||
        !value_of(dictionary, "fortran_order").starts_with("False"))
        fail(ErrorKind::bad_input, "{}: found the header {}, expected elements of type {} in C order", path,
             dictionary.substr(0, dictionary.find_last_not_of(" \n") + 1), expected_descr);

    const std::size_t available = bytes.size() - kPreamble - dictionary.size();
    const auto shape = parse_shape(value_of(dictionary, "shape"));
    const auto n_values = shape ? count_values(*shape, available, sizeof(T)) : std::nullopt;
    if (!n_values)
        fail(ErrorKind::bad_input, "{}: {} bytes of values do not fill the shape in the header {}. Damaged?",
             path, available, dictionary.substr(0, dictionary.find_last_not_of(" \n") + 1));
    NpyArray<T> array{*shape, std::vector<T>(*n_values)};
    if (*n_values > 0)
        std::memcpy(array.values.data(), bytes.data() + kPreamble + dictionary.size(), *n_values * sizeof(T));
    return array;
}

template <class T>
void write_npy(const std::string& path, std::string_view descr, std::span<const std::int64_t> shape,
               std::span<const T> values) {
    GR_CHECK(std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()) ==
             static_cast<std::int64_t>(values.size()));
    std::ofstream out(path, std::ios::binary);
    out << npy_header(descr, shape);
    out.write(reinterpret_cast<const char*>(values.data()),
              static_cast<std::streamsize>(values.size_bytes()));
    out.close();
    if (!out)
        fail(ErrorKind::io, "{}: cannot be written. Is there room on the disk, and may you write here?",
             path);
}

template NpyArray<std::uint8_t> read_npy(const std::string&, std::string_view);
template NpyArray<std::uint16_t> read_npy(const std::string&, std::string_view);
template NpyArray<std::int32_t> read_npy(const std::string&, std::string_view);
template NpyArray<float> read_npy(const std::string&, std::string_view);
template void write_npy(const std::string&, std::string_view, std::span<const std::int64_t>,
                        std::span<const std::uint8_t>);
template void write_npy(const std::string&, std::string_view, std::span<const std::int64_t>,
                        std::span<const std::uint16_t>);
template void write_npy(const std::string&, std::string_view, std::span<const std::int64_t>,
                        std::span<const std::int32_t>);

}  // namespace greenroom::cache
