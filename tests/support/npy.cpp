#include "tests/support/npy.h"

#include <algorithm>
#include <fstream>
#include <stdexcept>

namespace greenroom::test {
namespace {

template <class T>
bool descr_fits(const std::string& descr);
template <>
bool descr_fits<float>(const std::string& descr) {
    return descr == "<f4";
}
template <>
bool descr_fits<std::int32_t>(const std::string& descr) {
    return descr == "<i4";
}
template <>
bool descr_fits<std::uint16_t>(const std::string& descr) {
    return descr == "<u2" || descr == "<f2";
}
template <>
bool descr_fits<std::uint8_t>(const std::string& descr) {
    return descr == "|u1";
}

std::string quoted_value(const std::string& header, const std::string& key) {
    const std::size_t start = header.find('\'', header.find(':', header.find("'" + key + "'"))) + 1;
    return header.substr(start, header.find('\'', start) - start);
}

}  // namespace

template <class T>
NpyArray<T> load_npy(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    char magic[10];
    if (!in.read(magic, sizeof magic) || std::string(magic, 6) != "\x93NUMPY")
        throw std::runtime_error(path.string() + ": not a .npy file");
    std::string header(static_cast<unsigned char>(magic[8]) + 256u * static_cast<unsigned char>(magic[9]),
                       '\0');
    in.read(header.data(), static_cast<std::streamsize>(header.size()));
    if (!descr_fits<T>(quoted_value(header, "descr")) ||
        header.find("'fortran_order': False") == std::string::npos)
        throw std::runtime_error(path.string() + ": another element type or order than expected: " + header);

    NpyArray<T> array;
    std::int64_t n_values = 1;
    std::size_t at = header.find('(', header.find("'shape'")) + 1;
    while (header.at(at) != ')') {
        std::size_t used = 0;
        array.shape.push_back(std::stoll(header.substr(at), &used));
        n_values *= array.shape.back();
        at += used;
        while (header.at(at) == ',' || header.at(at) == ' ') ++at;
    }
    array.values.resize(static_cast<std::size_t>(n_values));
    if (!in.read(reinterpret_cast<char*>(array.values.data()),
                 static_cast<std::streamsize>(n_values * sizeof(T))))
        throw std::runtime_error(path.string() + ": shorter than its header says");
    return array;
}

template NpyArray<float> load_npy(const std::filesystem::path&);
template NpyArray<std::int32_t> load_npy(const std::filesystem::path&);
template NpyArray<std::uint16_t> load_npy(const std::filesystem::path&);
template NpyArray<std::uint8_t> load_npy(const std::filesystem::path&);

}  // namespace greenroom::test
