#include "runtime/layer_streamer.h"

#include "quant/base/error.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <variant>

namespace greenroom::runtime {
namespace {

// A layer in more pieces than these is not worth it: each is a pass of kernels of its own.
constexpr std::int64_t kMostChunks = 8;

// Kernels read a word beyond a matrix's end.
constexpr std::int64_t kBeyondEnd = 256;

// How long a wait may keep it from looking whether it is cancelled.
constexpr std::chrono::milliseconds kLookAtCancelled{20};

// As the budget counts it.
std::int64_t table_bytes(const ExpertLayouts& layouts) noexcept {
    constexpr std::int64_t kRound = 256;
    const auto bytes = static_cast<std::int64_t>(layouts.n_experts() * sizeof(std::byte*));
    return (bytes + kRound - 1) / kRound * kRound;
}

// One for each area, and the one of all.
std::int64_t all_tables_bytes(const ExpertLayouts& layouts) noexcept { return 3 * table_bytes(layouts); }

std::vector<VramSlotLayout> layouts_of(const RamTier& ram, const VramTier& tier) {
    std::vector<VramSlotLayout> all;
    all.reserve(static_cast<std::size_t>(ram.layouts().n_layers()));
    for (int ordinal = 0; ordinal < ram.layouts().n_layers(); ++ordinal)
        all.push_back(tier.slot_layout(ordinal));
    return all;
}

}  // namespace

double tokens_per_expert(const ExpertLayouts& layouts, std::int64_t n_tokens) noexcept {
    return static_cast<double>(n_tokens) * layouts.top_k() / std::max(1, layouts.n_experts());
}

std::int64_t LayerStreamer::bytes_wanted(const ExpertLayouts& layouts, const Weights& weights,
                                         std::int64_t most_bytes) {
    std::int64_t least = 0;
    std::int64_t largest = 0;
    for (int ordinal = 0; ordinal < layouts.n_layers(); ++ordinal) {
        const LayerWeights& layer = weights.layers[static_cast<std::size_t>(layouts.layer(ordinal))];
        const auto& experts = std::get<MoeFfnWeights>(layer.ffn).experts;
        const VramSlotLayout layout(experts.front());
        if (std::ranges::any_of(experts, [&](const auto& e) { return VramSlotLayout(e) != layout; }))
            return 0;
        const auto n = std::ssize(experts);
        least = std::max(least, (n + kMostChunks - 1) / kMostChunks * layout.slot_bytes);
        largest = std::max(largest, n * layout.slot_bytes);
    }
    constexpr std::int64_t kAlignment = VramSlotLayout::kAlignment;
    const std::int64_t room = (most_bytes - all_tables_bytes(layouts)) / 2 - kBeyondEnd;
    const std::int64_t area = std::min(largest, room / kAlignment * kAlignment);
    return area < least || area <= 0 ? 0 : 2 * (area + kBeyondEnd) + all_tables_bytes(layouts);
}

// Of a chunk that is computed, of the next, and of the one after that.
std::int64_t LayerStreamer::most_copies(const ExpertLayouts& layouts) noexcept {
    return std::int64_t{3} * layouts.n_experts();
}

std::int64_t LayerStreamer::pinned_bytes(const ExpertLayouts& layouts) noexcept {
    return kMostChunks * layouts.n_layers() * table_bytes(layouts);
}

LayerStreamer::LayerStreamer(RamTier& ram, PinnedExperts& pinned, VramTier& tier, gpu::DeviceBudget& budget,
                             std::int64_t bytes)
    : ram_(ram),
      tier_(tier),
      area_bytes_((bytes - all_tables_bytes(ram.layouts())) / 2 - kBeyondEnd),
      mover_(ram, pinned, layouts_of(ram, tier), static_cast<int>(most_copies(ram.layouts()))) {
    const ExpertLayouts& layouts = ram.layouts();
    all_slots_ = gpu::DeviceBuffer(budget, table_bytes(layouts), "the tables of streamed experts");
    tables_ = gpu::PinnedBuffer(pinned_bytes(layouts), "tables of streamed experts");
    const auto n_experts = static_cast<std::size_t>(layouts.n_experts());
    for (Area& a : areas_) {
        a.memory = gpu::DeviceBuffer(budget, area_bytes_ + kBeyondEnd, "streamed experts");
        a.table = gpu::DeviceBuffer(budget, table_bytes(layouts), "the tables of streamed experts");
        a.experts.reserve(n_experts);
        a.is_begun.reserve(n_experts);
    }
    constexpr int kNotNull = 0xff;
    gpu::fill_bytes(mover_.stream(), all_slots_.data(), kNotNull, all_slots_.bytes());
    mover_.stream().synchronize();
    left_.reserve(n_experts);
    arrived_.resize(n_experts);
    copied_.resize(static_cast<std::size_t>(most_copies(layouts)));
}

void LayerStreamer::begin_batch(int ordinal) {
    end_batch();
    mover_.stream().synchronize();  // the tables are written over
    let_copied_go();
    is_open_ = true;
    is_reading_ = !ram_.is_complete();
    begin_layer(ordinal);
    begin_chunks();
}

void LayerStreamer::end_batch() {
    let_copied_go();
    if (!is_open_) return;
    is_open_ = false;
    is_computing_ = false;
    n_computed_ = n_made_ = 0;
    settling_ = -1;
    if (!is_reading_) return;
    for (int ordinal = 0; ordinal < ram_.layouts().n_layers(); ++ordinal) {
        ram_.cache().release_all(ordinal);
        ram_.cache().settle(ordinal);
    }
}

LayerStreamer::Next LayerStreamer::next(int ordinal, gpu::Stream& stream,
                                        const std::atomic<bool>* cancelled) {
    if (is_computing_) {
        Area& used = area(n_computed_);
        stream.record(used.computed);
        ++n_computed_;
        is_computing_ = false;
        const bool was_last = used.is_last;
        begin_chunks();
        if (was_last) return Next::done;
    }
    Area& a = area(n_computed_);
    GR_CHECK(n_computed_ < n_made_ && a.ordinal == ordinal);
    if (!wait_for(a, cancelled)) return Next::cancelled;
    begin_chunks();
    stream.wait(a.ready);
    is_computing_ = true;
    return Next::chunk;
}

std::span<const std::byte* const> LayerStreamer::slots() const noexcept {
    const Area& a = areas_[static_cast<std::size_t>(n_computed_ % 2)];
    return {a.table.as<const std::byte*>(), static_cast<std::size_t>(ram_.layouts().n_experts())};
}

std::span<const std::byte* const> LayerStreamer::all_slots() const noexcept {
    return {all_slots_.as<const std::byte*>(), static_cast<std::size_t>(ram_.layouts().n_experts())};
}

// Those that have no slot, first what RAM has.
void LayerStreamer::begin_layer(int ordinal) {
    next_ordinal_ = ordinal;
    n_taken_ = 0;
    n_chunks_ = 0;
    left_.clear();
    for (const bool is_in_ram : {true, false})
        for (std::int32_t e = 0; e < ram_.layouts().n_experts(); ++e) {
            const cache::ExpertId id{ordinal, e};
            if (ram_.layouts().has(id) && tier_.slot(id) == nullptr &&
                ram_.cache().is_resident(id) == is_in_ram)
                left_.push_back(e);
        }
}

// As many as there are areas, but none after one whose experts have not all come from the disk.
void LayerStreamer::begin_chunks() {
    while (n_made_ - n_computed_ < std::ssize(areas_) &&
           (n_made_ == n_computed_ || area(n_made_ - 1).is_fed())) {
        if (n_chunks_ > 0 && n_taken_ == left_.size()) {
            if (next_ordinal_ + 1 == ram_.layouts().n_layers()) return;
            begin_layer(next_ordinal_ + 1);
        }
        begin_chunk();
    }
}

void LayerStreamer::begin_chunk() {
    const ExpertLayouts& layouts = ram_.layouts();
    const std::int64_t slot_bytes = tier_.slot_layout(next_ordinal_).slot_bytes;
    Area& a = area(n_made_++);
    const auto n =
        std::min<std::size_t>(left_.size() - n_taken_, static_cast<std::size_t>(area_bytes_ / slot_bytes));
    a.ordinal = next_ordinal_;
    a.experts.assign(left_.begin() + static_cast<std::ptrdiff_t>(n_taken_),
                     left_.begin() + static_cast<std::ptrdiff_t>(n_taken_ + n));
    a.is_begun.assign(n, false);
    a.n_begun = 0;
    n_taken_ += n;
    a.is_last = n_taken_ == left_.size();

    const std::int64_t number = next_ordinal_ * kMostChunks + n_chunks_++;
    GR_CHECK(n_chunks_ <= kMostChunks);
    std::byte* const memory = tables_.data() + number * table_bytes(layouts);
    const std::span table(reinterpret_cast<const std::byte**>(memory),
                          static_cast<std::size_t>(layouts.n_experts()));
    const bool is_first = n_chunks_ == 1;
    for (std::int32_t e = 0; e < layouts.n_experts(); ++e)
        table[static_cast<std::size_t>(e)] = is_first ? tier_.slot({next_ordinal_, e}) : nullptr;
    for (std::size_t i = 0; i < n; ++i)
        table[static_cast<std::size_t>(a.experts[i])] =
            a.memory.data() + static_cast<std::int64_t>(i) * slot_bytes;
    mover_.stream().wait(a.computed);
    gpu::copy_to_device(mover_.stream(), a.table.data(), table.data(), a.table.bytes());
    if (!is_reading_) ram_.cache().count_hits(a.ordinal, static_cast<std::int64_t>(n));
    feed(a);
}

// Begins to copy what is in RAM of the chunk, and to read what is not.
void LayerStreamer::feed(Area& a) {
    let_copied_go();
    if (is_reading_) ram_.cache().take_in(arrived_, std::chrono::microseconds(0));
    is_refused_ = false;
    const VramSlotLayout& layout = tier_.slot_layout(a.ordinal);
    for (std::size_t i = 0; i < a.experts.size(); ++i) {
        if (a.is_begun[i]) continue;
        const cache::ExpertId id{a.ordinal, a.experts[i]};
        if (is_reading_ && !ram_.cache().is_demanded(id)) {
            // Refused, the others would be, too.
            if (is_refused_ || ram_.cache().demand(id) == cache::Demand::no_slot) {
                is_refused_ = true;
                continue;
            }
        }
        if (!ram_.cache().is_resident(id)) continue;
        std::byte* const slot = a.memory.data() + static_cast<std::int64_t>(i) * layout.slot_bytes;
        std::array<cache::Copy, 3> copies;
        for (std::size_t part = 0; part < copies.size(); ++part)
            copies[part] = {layout.range(id, part), slot + layout.offsets[part]};
        if (!mover_.start({.copies = copies})) break;
        if (is_reading_) ram_.cache().release(id);
        tier_.count_streamed(layout.bytes[0] + layout.bytes[1] + layout.bytes[2]);
        a.is_begun[i] = true;
        ++a.n_begun;
    }
    if (a.is_fed()) {
        mover_.stream().record(a.ready);
        if (a.is_last) settling_ = a.ordinal;
    } else if (is_reading_ && !is_refused_) {
        read_ahead();
    }
}

// What comes after the chunks that have been made.
void LayerStreamer::read_ahead() {
    if (ram_.options().prefetch_layers == 0) return;
    for (std::size_t i = n_taken_; i < left_.size(); ++i) {
        const cache::ExpertId id{next_ordinal_, left_[i]};
        if (ram_.cache().is_absent(id) && !ram_.cache().prefetch(id)) return;
    }
    if (next_ordinal_ + 1 < ram_.layouts().n_layers()) ram_.read_ahead(next_ordinal_ + 1);
}

// Until the chunk is fed. False when cancelled.
bool LayerStreamer::wait_for(Area& a, const std::atomic<bool>* cancelled) {
    while (!a.is_fed()) {
        feed(a);
        if (a.is_fed()) return true;
        if (cancelled != nullptr && cancelled->load(std::memory_order_relaxed)) return false;
        // A slot in RAM is free again when its expert has been copied.
        const bool waits_for_copies =
            mover_.n_under_way() > 0 && (is_refused_ || ram_.cache().n_reading() == 0);
        if (waits_for_copies) {
            mover_.wait(copied_, kLookAtCancelled);
        } else {
            GR_CHECK(ram_.cache().n_reading() > 0);  // else it would wait for ever
            ram_.cache().take_in(arrived_, kLookAtCancelled);
        }
    }
    return true;
}

// What has been copied needs to stay in RAM no longer, and a layer that is done keeps no more than its share.
void LayerStreamer::let_copied_go() {
    while (mover_.poll(copied_) > 0) {
    }
    if (settling_ >= 0 && is_reading_) ram_.cache().settle(settling_);
}

}  // namespace greenroom::runtime
