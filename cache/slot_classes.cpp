#include "cache/slot_classes.h"

#include "quant/base/error.h"

#include <algorithm>
#include <functional>

namespace greenroom::cache {
namespace {

// From the largest size down: a class takes what fills its slots well enough.
std::vector<SlotClass> group(std::span<const std::int64_t> sizes, double max_waste) {
    std::vector<std::int64_t> sorted(sizes.begin(), sizes.end());
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    std::vector<SlotClass> classes;
    for (const std::int64_t bytes : sorted) {
        GR_CHECK(bytes > 0);
        const bool fits =
            !classes.empty() &&
            static_cast<double>(bytes) >= (1.0 - max_waste) * static_cast<double>(classes.back().slot_bytes);
        if (!fits) classes.push_back({.slot_bytes = bytes});
        ++classes.back().n_experts;
    }
    std::reverse(classes.begin(), classes.end());
    return classes;
}

std::int64_t bytes_of(std::span<const SlotClass> classes) {
    std::int64_t total = 0;
    for (const SlotClass& c : classes) total += c.n_slots * c.slot_bytes;
    return total;
}

// One more slot for the class with the smallest fraction of its experts that still fits into the rest of the
// budget. False when none does.
bool add_slot(std::vector<SlotClass>& classes, std::int64_t rest) {
    SlotClass* poorest = nullptr;
    for (SlotClass& c : classes)
        if (c.n_slots < c.n_experts && c.slot_bytes <= rest &&
            (poorest == nullptr || c.n_slots * poorest->n_experts < poorest->n_slots * c.n_experts))
            poorest = &c;
    if (poorest == nullptr) return false;
    ++poorest->n_slots;
    return true;
}

}  // namespace

SlotPlan::SlotPlan(std::span<const std::int64_t> slot_bytes_of_experts, std::int64_t budget_bytes,
                   std::int64_t min_slots, double max_waste)
    : classes_(group(slot_bytes_of_experts, max_waste)) {
    for (SlotClass& c : classes_) c.n_slots = std::min(min_slots, c.n_experts);
    const std::int64_t least = bytes_of(classes_);
    if (least > budget_bytes)
        fail(ErrorKind::out_of_memory,
             "cache: {} bytes for expert slots; at least {} bytes are needed ({} slots for each of {} sizes "
             "of experts). "
             "Give it more memory",
             budget_bytes, least, min_slots, classes_.size());

    std::int64_t all = 0;
    for (const SlotClass& c : classes_) all += c.n_experts * c.slot_bytes;
    const double fraction = all == 0 ? 0.0 : static_cast<double>(budget_bytes) / static_cast<double>(all);
    // Where the minimum has already given a class more than its share, the others get less.
    std::int64_t rest = budget_bytes - least;
    for (SlotClass& c : classes_) {
        const auto share =
            std::min(c.n_experts, static_cast<std::int64_t>(fraction * static_cast<double>(c.n_experts)));
        const std::int64_t more = std::clamp<std::int64_t>(share - c.n_slots, 0, rest / c.slot_bytes);
        c.n_slots += more;
        rest -= more * c.slot_bytes;
    }
    while (add_slot(classes_, budget_bytes - bytes_of(classes_))) {
    }
    for (SlotClass& c : classes_) {
        c.first_byte = total_bytes_;
        total_bytes_ += c.n_slots * c.slot_bytes;
    }
}

int SlotPlan::class_of(std::int64_t slot_bytes) const {
    const auto found =
        std::lower_bound(classes_.begin(), classes_.end(), slot_bytes,
                         [](const SlotClass& c, std::int64_t bytes) { return c.slot_bytes < bytes; });
    GR_CHECK(found != classes_.end());
    return static_cast<int>(found - classes_.begin());
}

}  // namespace greenroom::cache
