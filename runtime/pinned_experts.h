#pragma once

// PinnedExperts: how the experts' slots in RAM are copied to the GPU. They are pinned as far as the system
// allows, and copied as they lie there; what is in the others goes through a ring (StagedCopies) that is
// pinned first, so that it gets its bytes whatever the slots take; and where there is none, as pageable
// memory, which takes the time of the thread that evaluates. A warning in the log says which it is.
//
// One per engine, for whoever copies experts (DeviceMover), on the thread that evaluates.

#include "gpu/memory.h"
#include "gpu/stream.h"
#include "runtime/ram_tier.h"
#include "runtime/staged_copies.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace greenroom::runtime {

class PinnedExperts {
  public:
    struct Needs {
        std::int64_t largest_bytes = 0;    // of GPU memory that an expert takes
        std::int64_t most_under_way = 0;   // copies of experts
        std::int64_t bytes_of_others = 0;  // that others will pin: the slots take what these leave
    };

    PinnedExperts() = default;  // where none is copied: pins nothing
    // The slots are pinned here. ram must outlive it. Error{device} where it is not the system that refuses.
    PinnedExperts(const RamTier& ram, const Needs& needs);

    // An expert, in the stream's order. parts: its matrices, in its slot; as StagedCopies::enqueue().
    void enqueue(gpu::Stream& stream, std::span<const UploadPart> parts);

    // Of the slots' bytes, from 0 to 1.
    double pinned_share() const noexcept;
    std::int64_t pinned_bytes() const noexcept;
    std::int64_t slot_bytes() const noexcept { return slot_bytes_; }  // all of them
    // Of RAM; 0: there is no ring.
    std::int64_t ring_bytes() const noexcept { return staged_ ? staged_->bytes() : 0; }

    // Of what has been enqueued from slots that are not pinned.
    std::int64_t n_bytes_staged() const noexcept { return n_bytes_staged_; }
    std::int64_t n_bytes_pageable() const noexcept { return n_bytes_pageable_; }

  private:
    std::string pin(const RamTier& ram);
    bool is_pinned(const UploadPart& part) const noexcept;

    std::int64_t slot_bytes_ = 0;
    std::optional<StagedCopies> staged_;    // nothing where all slots are pinned, and where it can't be
    std::vector<gpu::PinnedRegion> slots_;  // by class
    std::int64_t n_bytes_staged_ = 0;
    std::int64_t n_bytes_pageable_ = 0;
};

}  // namespace greenroom::runtime
