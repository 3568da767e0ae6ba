#include "runtime/vram_tier.h"

#include "quant/base/error.h"
#include "runtime/admission.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>
#include <variant>

namespace greenroom::runtime {
namespace {

// Kernels read a word beyond a matrix's end. As the budget counts it.
constexpr std::int64_t kBeyondEnd = 256;

std::vector<VramSlotLayout> slot_layouts(const ExpertLayouts& layouts, const Weights& weights) {
    std::vector<VramSlotLayout> all;
    for (int ordinal = 0; ordinal < layouts.n_layers(); ++ordinal) {
        const LayerWeights& layer = weights.layers[static_cast<std::size_t>(layouts.layer(ordinal))];
        all.emplace_back(std::get<MoeFfnWeights>(layer.ffn).experts.front());
    }
    return all;
}

// Of the layers whose experts get slots.
std::vector<std::int32_t> ordinals_with_slots(const ExpertLayouts& layouts,
                                              std::span<const int> without_slots) {
    std::vector<std::int32_t> ordinals;
    for (std::int32_t ordinal = 0; ordinal < layouts.n_layers(); ++ordinal)
        if (!std::ranges::binary_search(without_slots, layouts.layer(ordinal))) ordinals.push_back(ordinal);
    return ordinals;
}

std::vector<std::int64_t> slot_bytes(std::span<const VramSlotLayout> layouts,
                                     std::span<const std::int32_t> ordinals) {
    std::vector<std::int64_t> bytes;
    for (const std::int32_t ordinal : ordinals)
        bytes.push_back(layouts[static_cast<std::size_t>(ordinal)].slot_bytes);
    return bytes;
}

// A miss goes to a free slot or to that of an expert that is worth less; nothing needs a slot to spare.
cache::SlotPlanOptions plan_options(const ExpertLayouts& layouts, cache::Scope scope,
                                    std::int64_t budget_bytes) {
    return {.scope = scope,
            .n_experts = layouts.n_experts(),
            .top_k = layouts.top_k(),
            .n_spare = 0,
            .budget_bytes = budget_bytes};
}

// By ordinal and expert.
std::int64_t n_places(const ExpertLayouts& layouts) noexcept {
    return std::int64_t{layouts.n_layers()} * layouts.n_experts();
}

// As the budget counts it.
std::int64_t table_bytes(const ExpertLayouts& layouts) noexcept {
    constexpr std::int64_t kRound = 256;
    const std::int64_t bytes = n_places(layouts) * static_cast<std::int64_t>(sizeof(std::byte*));
    return (bytes + kRound - 1) / kRound * kRound;
}

std::size_t index_of(const ExpertLayouts& layouts, cache::ExpertId id) noexcept {
    return static_cast<std::size_t>(std::int64_t{id.layer} * layouts.n_experts() + id.index);
}

// Copies under way at most. The experts are held in RAM meanwhile: where not all are there, most of the slots
// stay for what is called.
int choose_max_uploads(const RamTier& ram) {
    std::int64_t n = VramTier::kMostUploads;
    if (ram.plan().n_kept() < ram.layouts().n_all())
        for (const cache::SlotClass& c : ram.plan().classes()) n = std::min(n, c.n_slots() / 4);
    return static_cast<int>(n);
}

}  // namespace

std::int64_t VramTier::pinned_bytes(const ExpertLayouts& layouts) noexcept { return table_bytes(layouts); }

bool VramTier::has_room(const RamTier& ram, const Weights& weights, std::int64_t budget_bytes,
                        std::span<const int> without_slots) {
    const ExpertLayouts& layouts = ram.layouts();
    const std::vector<std::int64_t> bytes =
        slot_bytes(slot_layouts(layouts, weights), ordinals_with_slots(layouts, without_slots));
    const cache::SlotPlanOptions options =
        plan_options(layouts, ram.options().scope, budget_bytes - table_bytes(layouts) - kBeyondEnd);
    return !bytes.empty() && options.budget_bytes >= cache::SlotPlan::least_bytes(bytes, options) &&
           choose_max_uploads(ram) > 0;
}

std::int64_t VramTier::most_bytes(const ExpertLayouts& layouts, const Weights& weights,
                                  std::span<const int> without_slots) {
    const std::int64_t table = table_bytes(layouts) + kBeyondEnd;
    const std::vector<std::int64_t> bytes =
        slot_bytes(slot_layouts(layouts, weights), ordinals_with_slots(layouts, without_slots));
    if (bytes.empty()) return table;
    return table + cache::SlotPlan::most_bytes(bytes, plan_options(layouts, cache::Scope::layer, 0));
}

VramTier::VramTier(RamTier& ram, PinnedExperts& pinned, const Weights& weights, gpu::DeviceBudget& budget,
                   std::int64_t budget_bytes, double upload_share, std::span<const int> without_slots)
    : ram_(ram),
      layouts_(slot_layouts(ram.layouts(), weights)),
      ordinals_(ordinals_with_slots(ram.layouts(), without_slots)),
      places_(static_cast<std::size_t>(ram.layouts().n_layers()), -1),
      upload_share_(upload_share),
      max_uploads_(choose_max_uploads(ram)) {
    for (std::size_t place = 0; place < ordinals_.size(); ++place)
        places_[static_cast<std::size_t>(ordinals_[place])] = static_cast<std::int32_t>(place);
    const ExpertLayouts& experts = ram.layouts();
    const auto n_all = static_cast<std::size_t>(n_places(experts));
    table_ = gpu::DeviceBuffer(budget, table_bytes(experts), "the table of expert slots");
    next_table_ = gpu::PinnedBuffer(pinned_bytes(experts), "the table of expert slots");
    called_in_.assign(n_all, 0);
    wanted_.reserve(n_all);

    if (!has_room(ram, weights, budget_bytes, without_slots)) return;
    const std::vector<std::int64_t> bytes = slot_bytes(layouts_, ordinals_);
    const cache::SlotPlan plan(
        bytes, plan_options(experts, ram.options().scope, budget_bytes - table_bytes(experts) - kBeyondEnd));
    for (const cache::SlotClass& c : plan.classes()) n_slots_ += c.n_slots();
    memory_ = gpu::DeviceBuffer(budget, plan.total_bytes() + kBeyondEnd, "expert slots");
    best_.resize(bytes.size());
    policy_ = cache::make_policy(ram.options().policy,
                                 {.n_layers = static_cast<int>(ordinals_.size()),
                                  .n_experts = experts.n_experts(),
                                  .top_k = experts.top_k(),
                                  .n_slots = plan.n_kept()},
                                 ram.options().scope);
    arrived_.resize(static_cast<std::size_t>(max_uploads_));
    mover_ = std::make_unique<DeviceMover>(ram, pinned, layouts_, max_uploads_);

    std::vector<cache::SlotLayout> slots(bytes.size() * static_cast<std::size_t>(experts.n_experts()));
    for (const std::int32_t ordinal : ordinals_) {
        const auto layer = static_cast<std::size_t>(experts.layer(ordinal));
        const VramSlotLayout& layout = slot_layout(ordinal);
        std::int32_t e = 0;
        for (const ExpertWeights& expert : std::get<MoeFfnWeights>(weights.layers[layer].ffn).experts) {
            const cache::ExpertId id{ordinal, e++};
            // One whose matrices are of other types than its neighbours' stays with the CPU.
            if (VramSlotLayout(expert) != layout) continue;
            const std::array<cache::ByteRange, 3> ranges{layout.range(id, 0), layout.range(id, 1),
                                                         layout.range(id, 2)};
            cache::SlotLayout& slot = slots[index_of(experts, in_cache(id))];
            slot = cache::SlotLayout(ranges, VramSlotLayout::kAlignment);
            for (std::size_t part = 0; part < ranges.size(); ++part)
                GR_CHECK(slot.parts()[part].slot_offset == layout.offsets[part]);
        }
    }
    cache_ = std::make_unique<cache::ExpertCache>(*policy_, *mover_, memory_.data(), plan, slots);
}

std::span<const std::byte* const> VramTier::slots(int ordinal) const noexcept {
    const auto n = static_cast<std::size_t>(ram_.layouts().n_experts());
    return {table_.as<const std::byte*>() + static_cast<std::size_t>(ordinal) * n, n};
}

void VramTier::begin_batch(gpu::Stream& stream, std::int64_t n_tokens, Way way) {
    way_ = way;
    ++batch_;
    first_step_ = n_steps_;
    n_steps_ += n_tokens;
    bool has_changed = !is_published_;
    if (cache_ != nullptr) {
        last_use_.wait();
        has_changed |= take_in();
        has_changed |= admit_wanted();
    }
    wanted_.clear();
    n_missed_ = 0;
    if (has_changed)
        publish(stream);
    else
        stream.wait(published_);
}

// What has been copied. True if anything was.
bool VramTier::take_in() {
    const std::size_t n = cache_->take_in(arrived_, std::chrono::microseconds(0));
    for (const cache::ExpertId id : std::span(arrived_).first(n)) {
        cache_->release(id);
        const VramSlotLayout& layout = slot_layout(in_ram(id).layer);
        counters_.n_bytes_up += std::accumulate(layout.bytes.begin(), layout.bytes.end(), std::int64_t{0});
    }
    counters_.n_uploads += static_cast<std::int64_t>(n);
    return n > 0;
}

// Begins to copy the most valuable of what the last batch has called. True if somebody had to go for them.
bool VramTier::admit_wanted() {
    const std::int64_t n_before = cache_->n_resident();
    const std::int64_t n_under_way = cache_->n_reading();
    // While a batch is streamed, no CPU wants the memory that is read for uploads.
    const std::int64_t n_most =
        way_ == Way::streamed
            ? max_uploads_
            : std::min<std::int64_t>(max_uploads_,
                                     n_under_way + uploads_to_begin(upload_share_, n_missed_, n_under_way));
    std::sort(wanted_.begin(), wanted_.end(),
              [this](cache::ExpertId a, cache::ExpertId b) { return policy_->score(a) > policy_->score(b); });
    for (const cache::ExpertId id : wanted_)
        if (cache_->n_reading() >= n_most || !admit(id)) break;
    return cache_->n_resident() < n_before;
}

// False when nobody else is to be tried.
bool VramTier::admit(cache::ExpertId id) {
    if (!cache_->is_absent(id) || !ram_.cache().is_resident(in_ram(id))) return true;
    if (!policy_->has_room(id.layer)) {
        const std::optional<cache::ExpertId> victim = policy_->victim(id.layer);
        if (!victim || !is_worth_more(policy_->score(id), policy_->score(*victim), best_score(id.layer)))
            return true;
    }
    return cache_->demand(id) != cache::Demand::no_slot;
}

// Of the layer's experts that are there.
double VramTier::best_score(std::int32_t layer) {
    Best& best = best_[static_cast<std::size_t>(layer)];
    if (std::exchange(best.batch, batch_) == batch_) return best.score;
    best.score = -std::numeric_limits<double>::infinity();
    for (std::int32_t e = 0; e < ram_.layouts().n_experts(); ++e)
        if (cache_->is_resident({layer, e})) best.score = std::max(best.score, policy_->score({layer, e}));
    return best.score;
}

void VramTier::publish(gpu::Stream& stream) {
    auto* table = next_table_.as<const std::byte*>();
    const ExpertLayouts& experts = ram_.layouts();
    for (std::int32_t ordinal = 0; ordinal < experts.n_layers(); ++ordinal)
        for (std::int32_t e = 0; e < experts.n_experts(); ++e)
            table[index_of(experts, {ordinal, e})] = slot({ordinal, e});
    gpu::copy_to_device(stream, table_.data(), table, next_table_.bytes());
    stream.record(published_);
    is_published_ = true;
}

void VramTier::on_calls(int ordinal, std::span<const std::int32_t> experts, std::span<const float> factors,
                        int top_k) {
    const bool is_cached = cache_ != nullptr && has_slots(ordinal);
    const auto step = static_cast<std::size_t>(top_k);
    std::int64_t token = first_step_;
    for (std::size_t i = 0; i < experts.size(); i += step, ++token)
        if (is_cached)
            cache_->on_request({.layer = in_cache({ordinal, 0}).layer,
                                .step = token,
                                .experts = experts.subspan(i, step),
                                .weights = factors.subspan(i, step)});
    for (const std::int32_t expert : experts) {
        const cache::ExpertId id{ordinal, expert};
        if (std::exchange(called_in_[index_of(ram_.layouts(), id)], batch_) == batch_) continue;
        const bool is_here = is_resident(id);
        if (!is_here && is_cached) wanted_.push_back(in_cache(id));
        if (way_ == Way::streamed) continue;
        ++(is_here ? counters_.n_hits : counters_.n_misses);
        if (!is_here) ++n_missed_;
    }
}

}  // namespace greenroom::runtime
