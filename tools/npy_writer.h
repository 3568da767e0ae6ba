#pragma once

// NpyWriter: writes an array of known shape as .npy, version 1.0, C order, little-endian (NumPy, "NEP 1: A
// Simple File Format for NumPy Arrays"), its values in any order.

#include "tools/partial_file.h"

#include <cstdint>
#include <span>
#include <string>

namespace greenroom::tools {

// T: float ('<f4') or std::int32_t ('<i4').
template <class T>
class NpyWriter {
  public:
    // Error{io} when there is no room for the whole array.
    NpyWriter(const std::string& path, std::span<const std::int64_t> shape);

    // Writes values from index `first` (in C order) on. Values that are never written are 0. Error{io}.
    void write_at(std::int64_t first, std::span<const T> values);

    // All is written: the file gets its name. Error{io}.
    void commit() { file_.commit(); }

  private:
    NpyWriter(const std::string& path, std::span<const std::int64_t> shape, const std::string& header);

    std::int64_t data_start_;
    PartialFile file_;
};

}  // namespace greenroom::tools
