#pragma once

// Reads .npy files, version 1.0, C order, little-endian: what the reference data come in.

#include <cstdint>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

namespace greenroom::test {

template <class T>
struct NpyArray {
    std::vector<std::int64_t> shape;
    std::vector<T> values;

    std::int64_t dim(std::size_t i) const { return shape.at(i); }
};

// T is float ('<f4'), std::int32_t ('<i4'), std::uint16_t ('<u2' or '<f2') or std::uint8_t ('|u1').
// Throws std::runtime_error when the file is missing or holds something else.
template <class T>
NpyArray<T> load_npy(const std::filesystem::path& path);

}  // namespace greenroom::test
