#pragma once

// KvRows: cached keys or values, seen and not owned: for each head a row of n_values per position, in one of
// the types that a cache can have. The rows of a head lie one after the other, and then those of the next:
// attention reads a head's. Where fewer rows than positions are kept, the row of position p is p modulo
// n_rows: a ring, in which a row is the newest position that fell on it.

#include "quant/types.h"

#include <cstddef>
#include <cstdint>

namespace greenroom {

struct KvRows {
    std::byte* data = nullptr;
    quant::Type type = quant::Type::F32;
    std::int64_t n_rows = 0;    // of a head
    std::int64_t n_values = 0;  // per row; a whole number of the type's blocks
    std::int64_t row_bytes = 0;
    int n_heads = 1;

    std::byte* head(int h) const noexcept { return data + h * n_rows * row_bytes; }
    std::byte* row(std::int64_t position, int h = 0) const noexcept {
        return head(h) + position % n_rows * row_bytes;
    }
};

}  // namespace greenroom
