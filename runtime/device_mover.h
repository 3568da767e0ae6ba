#pragma once

// DeviceMover: has experts copied from their slots in RAM to slots in VRAM, beside what the GPU computes, in
// a stream of its own. How, depends on whether RAM could be pinned (PinnedExperts).
//
// A range's file is the layer's number among the MoE layers; its offset says which expert and which of its
// matrices, as if all experts of the layer lay in VRAM slots one after the other (VramSlotLayout). Where the
// bytes are in RAM is looked up when the copy begins; the expert is held there until the completion has been
// fetched.
//
// Used by the thread that evaluates.

#include "cache/mover.h"
#include "gpu/stream.h"
#include "runtime/pinned_experts.h"
#include "runtime/ram_tier.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace greenroom::runtime {

// Where the matrices of an expert lie in its VRAM slot: the same for all experts of a layer. Bytes.
struct VramSlotLayout {
    // Matrices begin at multiples of it.
    static constexpr std::int64_t kAlignment = 256;

    std::array<std::int64_t, 3> offsets{};  // gate, up, down
    std::array<std::int64_t, 3> bytes{};
    std::array<quant::Type, 3> types{};
    std::int64_t slot_bytes = 0;

    explicit VramSlotLayout(const ExpertWeights& expert);
    bool operator==(const VramSlotLayout&) const = default;

    // As a range of DeviceMover.
    cache::ByteRange range(cache::ExpertId id, std::size_t part) const noexcept {
        return {id.layer, id.index * slot_bytes + offsets[part], bytes[part]};
    }
};

class DeviceMover : public cache::Mover {
  public:
    // ram and pinned must outlive it. layouts: by ordinal. At most max_requests are under way.
    DeviceMover(RamTier& ram, PinnedExperts& pinned, std::vector<VramSlotLayout> layouts, int max_requests);

    // The expert of the request is resident in RAM.
    std::optional<cache::Ticket> start(const cache::CopyRequest& request) override;
    void promote(cache::Ticket /*ticket*/) noexcept override {}  // all have begun
    void cancel(cache::Ticket /*ticket*/) noexcept override {}
    std::size_t poll(std::span<cache::Completion> completions) override;
    std::size_t wait(std::span<cache::Completion> completions, std::chrono::microseconds timeout) override;

    // In whose order everything is copied.
    gpu::Stream& stream() noexcept { return stream_; }
    // Begun, and its completion not fetched.
    std::int64_t n_under_way() const noexcept { return static_cast<std::int64_t>(n_started_ - n_ended_); }

  private:
    struct Upload {
        gpu::Event done;
        cache::ExpertId expert;
        std::uint64_t tag = 0;
        cache::Ticket ticket{};
        std::chrono::steady_clock::time_point start;
    };

    Upload& upload(std::uint64_t number) { return uploads_[number % uploads_.size()]; }

    RamTier& ram_;
    PinnedExperts& pinned_;
    std::vector<VramSlotLayout> layouts_;
    gpu::Stream stream_;
    // A ring: those from n_ended_ to n_started_ are under way; they end in this order.
    std::vector<Upload> uploads_;
    std::uint64_t n_started_ = 0;
    std::uint64_t n_ended_ = 0;
};

}  // namespace greenroom::runtime
