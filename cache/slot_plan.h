#pragma once

// SlotPlan: a budget of bytes cut into slots.
//
// All slots for the experts of a layer are as large as the largest of them (a part's place in its block makes
// a difference of some kilobytes). Layers that need about the same share a class of slots, so any expert of
// the class fits any slot of it; a Q4_K_M file, which holds half of its down matrices as Q6_K, has two
// classes. The slots of a class lie one after the other, the classes too.
//
// Most slots are for experts that the policy keeps: CacheShape::n_slots, shared out to the layers by
// CacheShape::quota(). Each class has spare ones besides, for experts that are read ahead, or in use while
// their layer's quota is full. Where all experts fit there are none.

#include "cache/policy.h"

#include <cstdint>
#include <span>
#include <vector>

namespace greenroom::cache {

struct SlotClass {
    std::int64_t slot_bytes = 0;
    std::int64_t n_experts = 0;  // of all its layers
    std::int64_t n_kept = 0;     // slots for its layers' quotas
    std::int64_t n_spare = 0;
    std::int64_t first_byte = 0;  // of its first slot, from the beginning of the arena

    std::int64_t n_slots() const noexcept { return n_kept + n_spare; }
};

struct SlotPlanOptions {
    // In the global scope all experts compete, so that all slots are of one class.
    Scope scope = Scope::layer;
    int n_experts = 0;  // of each layer
    int top_k = 0;
    // Spare slots of each class that would be of use. With little memory there are fewer: no more than a
    // quarter of the budget, but top_k if the budget has room for that many.
    std::int64_t n_spare = 0;
    std::int64_t budget_bytes = 0;
    double max_waste = 0.03;  // how much of a slot may stay unused by a layer that shares it
};

class SlotPlan {
  public:
    // layer_slot_bytes: what the largest expert of each layer needs, a multiple of the alignment (SlotLayout
    // sees to that). Error{out_of_memory} when the budget does not suffice for a slot of each class: says
    // what would.
    SlotPlan(std::span<const std::int64_t> layer_slot_bytes, const SlotPlanOptions& options);

    // The least budget that is not refused.
    static std::int64_t least_bytes(std::span<const std::int64_t> layer_slot_bytes,
                                    const SlotPlanOptions& options);
    // A budget that has room for all experts.
    static std::int64_t most_bytes(std::span<const std::int64_t> layer_slot_bytes,
                                   const SlotPlanOptions& options);

    std::span<const SlotClass> classes() const noexcept { return classes_; }  // the smallest slots first
    int class_of_layer(int layer) const { return class_of_layer_[static_cast<std::size_t>(layer)]; }
    std::int64_t n_kept() const noexcept { return n_kept_; }            // CacheShape::n_slots
    std::int64_t total_bytes() const noexcept { return total_bytes_; }  // at most the budget
    std::int64_t slot_offset(int slot_class,
                             std::int64_t slot) const noexcept {  // from the arena's beginning
        const SlotClass& c = classes_[static_cast<std::size_t>(slot_class)];
        return c.first_byte + slot * c.slot_bytes;
    }

  private:
    void share_out(std::int64_t n_kept, std::int64_t n_spare, int n_experts);

    std::vector<SlotClass> classes_;
    std::vector<int> class_of_layer_;
    std::int64_t n_kept_ = 0;
    std::int64_t total_bytes_ = 0;
};

}  // namespace greenroom::cache
