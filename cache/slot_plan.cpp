#include "cache/slot_plan.h"

#include "quant/base/error.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace greenroom::cache {
namespace {

// Slot sizes from the largest down: a class takes the layers that fill its slots well enough.
std::vector<SlotClass> group(std::span<const std::int64_t> layer_slot_bytes, const SlotPlanOptions& options) {
    GR_CHECK(!layer_slot_bytes.empty() && options.n_experts > 0);
    std::vector<std::int64_t> sorted(layer_slot_bytes.begin(), layer_slot_bytes.end());
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    std::vector<SlotClass> classes;
    for (const std::int64_t bytes : sorted) {
        GR_CHECK(bytes > 0);
        const bool fits = !classes.empty() &&
                          (options.scope == Scope::global ||
                           static_cast<double>(bytes) >=
                               (1.0 - options.max_waste) * static_cast<double>(classes.back().slot_bytes));
        if (!fits) classes.push_back({.slot_bytes = bytes});
        classes.back().n_experts += options.n_experts;
    }
    std::reverse(classes.begin(), classes.end());
    return classes;
}

std::int64_t bytes_of_one_each(std::span<const SlotClass> classes) {
    std::int64_t bytes = 0;
    for (const SlotClass& c : classes) bytes += c.slot_bytes;
    return bytes;
}

}  // namespace

std::int64_t SlotPlan::least_bytes(std::span<const std::int64_t> layer_slot_bytes,
                                   const SlotPlanOptions& options) {
    return bytes_of_one_each(group(layer_slot_bytes, options));
}

std::int64_t SlotPlan::most_bytes(std::span<const std::int64_t> layer_slot_bytes,
                                  const SlotPlanOptions& options) {
    std::int64_t bytes = 0;
    for (const SlotClass& c : group(layer_slot_bytes, options)) bytes += c.n_experts * c.slot_bytes;
    return bytes;
}

SlotPlan::SlotPlan(std::span<const std::int64_t> layer_slot_bytes, const SlotPlanOptions& options)
    : classes_(group(layer_slot_bytes, options)) {
    for (const std::int64_t bytes : layer_slot_bytes)
        class_of_layer_.push_back(static_cast<int>(
            std::lower_bound(classes_.begin(), classes_.end(), bytes,
                             [](const SlotClass& c, std::int64_t b) { return c.slot_bytes < b; }) -
            classes_.begin()));

    const std::int64_t one_each = bytes_of_one_each(classes_);
    const std::int64_t most_spare = options.budget_bytes / one_each;
    if (most_spare < 1)
        fail(ErrorKind::out_of_memory,
             "cache: {} bytes for expert slots; at least {} are needed, a slot for each of {} sizes of "
             "experts. Give it more memory",
             options.budget_bytes, one_each, classes_.size());
    const std::int64_t n_spare = std::max<std::int64_t>(
        1, std::min(options.n_spare,
                    std::max(most_spare / 4, std::min<std::int64_t>(options.top_k, most_spare))));

    // The most that fits.
    std::int64_t fits = 0;
    std::int64_t too_many = static_cast<std::int64_t>(layer_slot_bytes.size()) * options.n_experts + 1;
    while (too_many - fits > 1) {
        const std::int64_t middle = fits + (too_many - fits) / 2;
        share_out(middle, n_spare, options.n_experts);
        (total_bytes_ <= options.budget_bytes ? fits : too_many) = middle;
    }
    share_out(fits, n_spare, options.n_experts);
}

void SlotPlan::share_out(std::int64_t n_kept, std::int64_t n_spare, int n_experts) {
    const CacheShape shape{.n_layers = static_cast<int>(class_of_layer_.size()),
                           .n_experts = n_experts,
                           .top_k = 1,
                           .n_slots = n_kept};
    for (SlotClass& c : classes_) c.n_kept = 0;
    for (int layer = 0; layer < shape.n_layers; ++layer)
        classes_[static_cast<std::size_t>(class_of_layer(layer))].n_kept += shape.quota(layer);
    n_kept_ = n_kept;
    total_bytes_ = 0;
    for (SlotClass& c : classes_) {
        c.n_spare = std::min(n_spare, c.n_experts - c.n_kept);
        c.first_byte = std::exchange(total_bytes_, total_bytes_ + c.n_slots() * c.slot_bytes);
    }
}

}  // namespace greenroom::cache
