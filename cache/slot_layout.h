#pragma once

// SlotLayout: where the matrices of one expert lie in its slot.
//
// Direct reads (O_DIRECT) move whole blocks: file offset, length and memory address are multiples of the
// device's block size. So that a read fills the slot without a copy, a part keeps the place within its block
// that it has in the file: it begins `offset % alignment` bytes into a block of the slot, and the blocks at
// its two ends also receive the neighbours' bytes of the file. Nothing else may use those.
//
//     file   ···|····▒▒▒▒|▒▒▒▒▒▒▒▒|▒▒▒·····|···          ▒ a matrix of the expert, | block boundaries
//     slot      |····▒▒▒▒|▒▒▒▒▒▒▒▒|▒▒▒·····||··▒▒▒▒▒▒|▒▒······|    the next matrix in blocks of its own
//
// Costs less than two blocks per part. A value type of some hundred bytes; one per expert.

#include "cache/byte_range.h"
#include "cache/mover.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace greenroom::cache {

struct SlotPart {
    ByteRange range;
    std::int64_t slot_offset = 0;  // of the first byte of the range
};

class SlotLayout {
  public:
    SlotLayout() = default;
    // 1 to kMaxCopies ranges, laid out in this order. alignment: a power of two, see SsdReader::alignment();
    // the slot itself must begin at a multiple of it.
    SlotLayout(std::span<const ByteRange> ranges, std::int64_t alignment);

    std::span<const SlotPart> parts() const noexcept { return {parts_.data(), n_parts_}; }
    std::int64_t slot_bytes() const noexcept { return slot_bytes_; }  // a multiple of the alignment

    // What fills the slot that begins at `slot`; valid as many as there are parts().
    std::array<Copy, kMaxCopies> copies_to(std::byte* slot) const noexcept;

  private:
    std::array<SlotPart, kMaxCopies> parts_;
    std::size_t n_parts_ = 0;
    std::int64_t slot_bytes_ = 0;
};

}  // namespace greenroom::cache
