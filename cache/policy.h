#pragma once

// Policy: decides which experts stay in a tier when a slot is needed. It keeps the tier's books (who is
// resident, who is pinned), hears what the router called, and names a victim. It moves no bytes: the runtime
// and the simulator do, or pretend to, with the same objects.
//
//     policy->on_request({.layer = 3, .step = 17, .experts = chosen, .weights = factors, .scores =
//     probabilities}); for each chosen expert:  policy->pin(id);                     // in use: nobody may
//     evict it
//         if (!policy->is_resident(id)) {
//             if (!policy->has_room(3)) policy->on_evict(*policy->victim(3));
//             policy->on_load(id);
//         }
//     … compute …              policy->unpin(id);
//
// Every policy is a score per expert; the victim is the evictable expert with the lowest one. In the `layer`
// scope each layer has a quota of slots and the victim is one of the layer that asks; in the `global` scope
// all layers share one pool. Whether a missed expert is to be loaded at all is the caller's decision (it
// knows what a copy costs); score() and victim_score() say what a load would gain.
//
// One thread: the scheduler's. After construction nothing allocates. Cost for E experts per layer and L
// layers: on_request as the policy says, at most a few passes over the E scores of one layer; victim O(E) in
// the layer scope, O(E + L) in the global one; the rest O(1). Memory: about 20 bytes per expert of the model,
// and what the policy adds.

#include "cache/expert_id.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace greenroom::cache {

// Who competes for a slot.
enum class Scope { layer, global };

std::string_view scope_name(Scope scope) noexcept;

struct CacheShape {
    int n_layers = 0;          // MoE layers
    int n_experts = 0;         // per layer; the most where layers differ
    int top_k = 0;             // experts of a request, at most
    std::int64_t n_slots = 0;  // of the tier

    // A layer's share of them in the layer scope: the first ones get what is left over.
    std::int64_t quota(int layer) const noexcept {
        return n_slots / n_layers + (layer < n_slots % n_layers ? 1 : 0);
    }
};

// What the router of a layer chose for one token.
struct Request {
    int layer = 0;
    // Number of the token, counted over the whole life of the cache. In a layer it never falls; a batch sends
    // all its tokens to one layer before the next one sees them, so the layers may be at different steps.
    std::int64_t step = 0;
    std::span<const std::int32_t> experts;  // distinct, by falling score
    std::span<const float> weights = {};    // a factor for each of `experts`, or empty
    std::span<const float> scores = {};     // the router's probability of every expert of the layer, or empty
};

// What a predictor expects that a layer will be asked for, before its router has run.
struct Prediction {
    int layer = 0;
    std::int64_t step = 0;                      // of the token it is about
    std::span<const std::int32_t> experts;      // distinct
    std::span<const float> probabilities = {};  // that each is requested; empty: certain
};

class Policy {
  public:
    virtual ~Policy() = default;
    Policy(const Policy&) = delete;
    Policy& operator=(const Policy&) = delete;

    const CacheShape& shape() const noexcept { return shape_; }
    Scope scope() const noexcept { return scope_; }

    // Before the request's misses are loaded. All ids are within the shape.
    void on_request(const Request& request);

    // Guards the predicted experts from eviction as far as the policy makes use of it. A hint only.
    void on_prediction(const Prediction& prediction);

    // The expert got a slot; it was not resident. There may be more than the policy has slots for, while
    // they are in use (see n_over).
    void on_load(ExpertId id);

    // The expert lost its slot; it was resident and not pinned.
    void on_evict(ExpertId id);

    // A pinned expert is never a victim. Pins are counted and may be held by experts that are not resident
    // (being computed elsewhere, or on their way).
    void pin(ExpertId id);
    void unpin(ExpertId id);

    bool is_resident(ExpertId id) const { return slots_[index_of(id)].resident; }
    std::int64_t n_resident() const noexcept { return n_resident_; }

    // Whether an expert of this layer can be loaded with no eviction.
    bool has_room(int layer) const { return n_over(layer) < 0; }

    // How many of those that compete with this layer's experts, its own included, are resident beyond the
    // slots that there are for them; below zero: how many could be added.
    std::int64_t n_over(int layer) const {
        return scope_ == Scope::global ? n_resident_ - shape_.n_slots
                                       : n_resident_in(layer) - shape_.quota(layer);
    }
    std::int64_t n_resident_in(int layer) const {
        return layers_[static_cast<std::size_t>(layer)].n_resident;
    }

    // The expert that the tier would miss least, among those that may make room for one of `layer`; none when
    // all of them are pinned. Changes nothing the caller can see: tell on_evict() when it was done.
    virtual std::optional<ExpertId> victim(int layer);

    // How much keeping (or having) the expert is worth, in units of the policy: for comparing experts with
    // each other, also of different layers in the global scope. policies.h says what the unit is.
    double score(ExpertId id) const { return scores_[index_of(id)]; }

    // The experts of a layer that are not resident and are worth most, by falling score, as many as there are
    // and fit; returns their number. What the layer may be asked for next and does not have, as far as the
    // calls alone tell.
    std::size_t most_wanted(int layer, std::span<std::int32_t> experts) const;

  protected:
    Policy(const CacheShape& shape, Scope scope);

    std::size_t index_of(ExpertId id) const;

    // The scores of a layer, by expert; for subclasses to set. Calling it says that they change.
    std::span<double> scores_of(int layer);

    bool is_evictable(ExpertId id) const;
    int n_evictable(int layer) const;

  private:
    struct Slot {
        bool resident = false;
        std::uint16_t n_pins = 0;
    };
    struct LayerBooks {
        std::int64_t n_resident = 0;
        // The victim if one of this layer must go; -1: none may; only while `is_current`.
        std::int32_t victim = -1;
        bool is_current = false;
    };

    virtual void update(const Request& request) = 0;
    virtual void update(const Prediction& /*prediction*/) {}
    virtual void loaded(ExpertId /*id*/) {}

    bool goes_before(ExpertId a, ExpertId b) const;
    std::int32_t find_victim(int layer) const;

    CacheShape shape_;
    Scope scope_;
    std::int64_t n_resident_ = 0;
    std::int64_t clock_ = 0;   // requests of all layers
    std::vector<Slot> slots_;  // by layer and expert, as the next two
    std::vector<double> scores_;
    std::vector<std::int64_t> last_use_;  // the request that called it last, from 1; 0: none did
    std::vector<LayerBooks> layers_;
};

}  // namespace greenroom::cache
