#include "runtime/device_mover.h"

#include "quant/base/error.h"

#include <algorithm>
#include <iterator>
#include <thread>
#include <utility>

namespace greenroom::runtime {

VramSlotLayout::VramSlotLayout(const ExpertWeights& expert)
    : bytes{expert.gate.bytes(), expert.up.bytes(), expert.down.bytes()},
      types{expert.gate.type, expert.up.type, expert.down.type} {
    for (std::size_t part = 0; part < bytes.size(); ++part) {
        offsets[part] = slot_bytes;
        slot_bytes += (bytes[part] + kAlignment - 1) / kAlignment * kAlignment;
    }
}

DeviceMover::DeviceMover(RamTier& ram, PinnedExperts& pinned, std::vector<VramSlotLayout> layouts,
                         int max_requests)
    : ram_(ram),
      pinned_(pinned),
      layouts_(std::move(layouts)),
      uploads_(static_cast<std::size_t>(max_requests)) {}

std::optional<cache::Ticket> DeviceMover::start(const cache::CopyRequest& request) {
    if (n_started_ - n_ended_ == uploads_.size()) return std::nullopt;
    const cache::ByteRange& first = request.copies.front().from;
    const VramSlotLayout& layout = layouts_[static_cast<std::size_t>(first.file)];
    const cache::ExpertId expert{first.file, static_cast<std::int32_t>(first.offset / layout.slot_bytes)};
    std::array<UploadPart, cache::kMaxCopies> parts;
    std::size_t n_parts = 0;
    for (const cache::Copy& copy : request.copies) {
        const auto part = std::ranges::find(layout.offsets, copy.from.offset % layout.slot_bytes);
        GR_CHECK(part != layout.offsets.end() && copy.from.file == first.file);
        const auto number = static_cast<std::size_t>(std::distance(layout.offsets.begin(), part));
        parts[n_parts++] = {ram_.cache().part(expert, number), copy.to, copy.from.bytes};
    }
    pinned_.enqueue(stream_, std::span(parts).first(n_parts));
    Upload& begun = upload(n_started_);
    stream_.record(begun.done);
    begun.expert = expert;
    begun.tag = request.tag;
    begun.ticket = cache::Ticket{++n_started_};
    begun.start = std::chrono::steady_clock::now();
    ram_.hold(expert);
    return begun.ticket;
}

std::size_t DeviceMover::poll(std::span<cache::Completion> completions) {
    std::size_t n = 0;
    for (; n < completions.size() && n_ended_ < n_started_ && upload(n_ended_).done.done(); ++n, ++n_ended_) {
        const Upload& ended = upload(n_ended_);
        ram_.let_go(ended.expert);
        const auto elapsed = std::chrono::steady_clock::now() - ended.start;
        completions[n] = {
            .tag = ended.tag,
            .ticket = ended.ticket,
            .outcome = cache::Outcome::done,
            .elapsed_us = std::chrono::duration_cast<std::chrono::microseconds>(elapsed).count(),
            .error = std::nullopt};
    }
    return n;
}

std::size_t DeviceMover::wait(std::span<cache::Completion> completions, std::chrono::microseconds timeout) {
    constexpr std::chrono::microseconds kBetweenLooks{50};
    const auto end = std::chrono::steady_clock::now() + timeout;
    for (;;) {
        const std::size_t n = poll(completions);
        if (n > 0 || n_ended_ == n_started_ || std::chrono::steady_clock::now() >= end) return n;
        std::this_thread::sleep_for(kBetweenLooks);
    }
}

}  // namespace greenroom::runtime
