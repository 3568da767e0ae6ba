#pragma once

// ByteRange: some consecutive bytes of one of the files that a model lies in.

#include <cstdint>

namespace greenroom::cache {

struct ByteRange {
    std::int32_t file = 0;  // which of the files, in the order in which they were opened
    std::int64_t offset = 0;
    std::int64_t bytes = 0;

    std::int64_t end() const noexcept { return offset + bytes; }
    bool operator==(const ByteRange&) const = default;
};

}  // namespace greenroom::cache
