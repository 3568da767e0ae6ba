#include "runtime/pinned_experts.h"

#include "quant/base/log.h"

#include <algorithm>
#include <string>

namespace greenroom::runtime {
namespace {

double mib(std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

constexpr const char* kWhatToDo =
    "What limits it may be `ulimit -l` (memlock in limits.conf), the container, or WSL's driver; a smaller "
    "--ram leaves less to pin";

}  // namespace

PinnedExperts::PinnedExperts(const RamTier& ram, const Needs& needs) : slot_bytes_(ram.plan().total_bytes()) {
    std::string no_ring;
    staged_ = gpu::if_pinned(
        [&] {
            return StagedCopies(needs.largest_bytes, needs.most_under_way, "experts on their way to the GPU");
        },
        &no_ring);
    std::string why;
    {
        const auto of_others = gpu::if_pinned(
            [&] { return gpu::PinnedBuffer(needs.bytes_of_others, "what others will pin"); }, &why);
        if (of_others) why = pin(ram);
    }
    if (why.empty()) {
        staged_.reset();
        return;
    }
    if (staged_)
        log_warning(
            "experts in RAM: {:.1f} of {:.1f} MiB can be pinned, no more ({}); what is in the rest goes to "
            "the GPU through {:.1f} MiB that are, slower and with a thread's time. {}",
            mib(pinned_bytes()), mib(slot_bytes_), why, mib(staged_->bytes()), kWhatToDo);
    else
        log_warning(
            "experts in RAM: {:.1f} of {:.1f} MiB can be pinned, no more ({}), and nothing to copy the rest "
            "through ({}): it goes to the GPU as pageable memory, for which the computation waits. {}",
            mib(pinned_bytes()), mib(slot_bytes_), why, no_ring, kWhatToDo);
}

// As much as can be of all slots. Why no more; "" where it is all.
std::string PinnedExperts::pin(const RamTier& ram) {
    std::string why;
    for (const cache::SlotClass& c : ram.plan().classes()) {
        slots_.emplace_back(ram.arena().data() + c.first_byte, c.n_slots() * c.slot_bytes, c.slot_bytes);
        if (why.empty()) why = slots_.back().refusal();
    }
    return why;
}

std::int64_t PinnedExperts::pinned_bytes() const noexcept {
    std::int64_t bytes = 0;
    for (const gpu::PinnedRegion& region : slots_) bytes += region.pinned_bytes();
    return bytes;
}

double PinnedExperts::pinned_share() const noexcept {
    return slot_bytes_ == 0 ? 1.0 : static_cast<double>(pinned_bytes()) / static_cast<double>(slot_bytes_);
}

bool PinnedExperts::is_pinned(const UploadPart& part) const noexcept {
    return std::ranges::any_of(
        slots_, [&](const gpu::PinnedRegion& region) { return region.is_pinned(part.from, part.bytes); });
}

void PinnedExperts::enqueue(gpu::Stream& stream, std::span<const UploadPart> parts) {
    const bool is_direct = is_pinned(parts.front());  // a slot is, or is not
    if (!is_direct) {
        std::int64_t& n_bytes = staged_ ? n_bytes_staged_ : n_bytes_pageable_;
        for (const UploadPart& part : parts) n_bytes += part.bytes;
    }
    if (!is_direct && staged_) {
        staged_->enqueue(stream, parts);
        return;
    }
    for (const UploadPart& part : parts) gpu::copy_to_device(stream, part.to, part.from, part.bytes);
}

}  // namespace greenroom::runtime
