#pragma once

// SlotPlan: a budget of bytes cut into slots, where the experts of different layers differ in size (a Q4_K_M
// file holds half of its down matrices as Q6_K, and a part's place in its block adds a few kilobytes).
//
// Experts of about one size share a class; all slots of a class are as large as its largest expert, so any of
// its experts fits any of its slots. Each class gets the same fraction of its experts, up to rounding. The
// slots of a class lie one after the other, the classes too.

#include <cstdint>
#include <span>
#include <vector>

namespace greenroom::cache {

struct SlotClass {
    std::int64_t slot_bytes = 0;
    std::int64_t n_experts = 0;
    std::int64_t n_slots = 0;     // at most n_experts
    std::int64_t first_byte = 0;  // of its first slot, from the beginning of the arena
};

class SlotPlan {
  public:
    // slot_bytes_of_experts: one size per expert, in any order, each a multiple of the alignment (SlotLayout
    // sees to that). An expert may leave at most max_waste of its slot unused. Each class gets at least
    // min_slots, or as many as it has experts. Error{out_of_memory} when budget_bytes do not suffice for
    // that: names what would.
    SlotPlan(std::span<const std::int64_t> slot_bytes_of_experts, std::int64_t budget_bytes,
             std::int64_t min_slots, double max_waste = 0.03);

    std::span<const SlotClass> classes() const noexcept { return classes_; }  // the smallest slots first
    std::int64_t total_bytes() const noexcept { return total_bytes_; }        // at most the budget
    int class_of(std::int64_t slot_bytes) const;                              // of an expert of this size
    std::int64_t slot_offset(int slot_class,
                             std::int64_t slot) const noexcept {  // from the beginning of the arena
        const SlotClass& c = classes_[static_cast<std::size_t>(slot_class)];
        return c.first_byte + slot * c.slot_bytes;
    }

  private:
    std::vector<SlotClass> classes_;
    std::int64_t total_bytes_ = 0;
};

}  // namespace greenroom::cache
