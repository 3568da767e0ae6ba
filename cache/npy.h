#pragma once

// Arrays in NumPy's .npy format, version 1.0, C order, little-endian (NEP 1: "A Simple File Format for NumPy
// Arrays"): what traces are stored in.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::cache {

// Everything before the values, for an array with elements `descr` ("<f4"): magic, version, length, a Python
// dictionary, blanks up to a multiple of 64 bytes.
std::string npy_header(std::string_view descr, std::span<const std::int64_t> shape);

template <class T>
struct NpyArray {
    std::vector<std::int64_t> shape;
    std::vector<T> values;  // C order
};

// Reads an array with elements `descr` of sizeof(T) bytes: '|u1', '<u2', '<f2' (as bits, std::uint16_t),
// '<i4',
// '<f4'. Error{io} when the file cannot be read, {bad_input} when it is damaged or holds something else.
template <class T>
NpyArray<T> read_npy(const std::string& path, std::string_view descr);

// Error{io}.
template <class T>
void write_npy(const std::string& path, std::string_view descr, std::span<const std::int64_t> shape,
               std::span<const T> values);

}  // namespace greenroom::cache
