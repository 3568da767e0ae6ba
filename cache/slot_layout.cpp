#include "cache/slot_layout.h"

#include "quant/base/error.h"

#include <bit>

namespace greenroom::cache {

SlotLayout::SlotLayout(std::span<const ByteRange> ranges, std::int64_t alignment) : n_parts_(ranges.size()) {
    GR_CHECK(!ranges.empty() && ranges.size() <= parts_.size());
    GR_CHECK(alignment > 0 && std::has_single_bit(static_cast<std::uint64_t>(alignment)));
    for (std::size_t i = 0; i < n_parts_; ++i) {
        const ByteRange& range = ranges[i];
        GR_CHECK(range.offset >= 0 && range.bytes > 0);
        const std::int64_t in_block = range.offset % alignment;
        parts_[i] = {range, slot_bytes_ + in_block};
        slot_bytes_ += (in_block + range.bytes + alignment - 1) / alignment * alignment;
    }
}

std::array<Copy, kMaxCopies> SlotLayout::copies_to(std::byte* slot) const noexcept {
    std::array<Copy, kMaxCopies> copies;
    for (std::size_t i = 0; i < n_parts_; ++i) copies[i] = {parts_[i].range, slot + parts_[i].slot_offset};
    return copies;
}

}  // namespace greenroom::cache
