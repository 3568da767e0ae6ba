#include "cache/policies.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace greenroom::cache {
namespace {

// Calls `experts` in a layer and loads those that are missing, as the runtime does. Returns the victims.
std::vector<std::int32_t> call(Policy& policy, int layer, std::int64_t step,
                               std::vector<std::int32_t> experts) {
    std::vector<std::int32_t> victims;
    policy.on_request({.layer = layer, .step = step, .experts = experts});
    for (const std::int32_t i : experts) policy.pin({layer, i});
    for (const std::int32_t i : experts) {
        if (policy.is_resident({layer, i})) continue;
        if (!policy.has_room(layer)) {
            const std::optional<ExpertId> victim = policy.victim(layer);
            if (!victim) continue;
            victims.push_back(victim->layer * 100 + victim->index);
            policy.on_evict(*victim);
        }
        policy.on_load({layer, i});
    }
    for (const std::int32_t i : experts) policy.unpin({layer, i});
    return victims;
}

using Victims = std::vector<std::int32_t>;

CacheShape one_layer(std::int64_t n_slots) {
    return {.n_layers = 1, .n_experts = 16, .top_k = 4, .n_slots = n_slots};
}

TEST(Policy, LruEvictsWhatWasCalledLongestAgo) {
    const auto policy = make_policy("lru", one_layer(3), Scope::layer);
    EXPECT_EQ(call(*policy, 0, 0, {5}), Victims{});
    EXPECT_EQ(call(*policy, 0, 1, {6}), Victims{});
    EXPECT_EQ(call(*policy, 0, 2, {7}), Victims{});
    EXPECT_EQ(call(*policy, 0, 3, {5}), Victims{});
    EXPECT_EQ(call(*policy, 0, 4, {8}), Victims{6});
    EXPECT_EQ(call(*policy, 0, 5, {9}), Victims{7});
}

TEST(Policy, FifoEvictsWhatWasLoadedFirst) {
    const auto policy = make_policy("fifo", one_layer(3), Scope::layer);
    for (const std::int32_t i : {5, 6, 7, 5}) call(*policy, 0, 0, {i});
    EXPECT_EQ(call(*policy, 0, 4, {8}), Victims{5});
    EXPECT_EQ(call(*policy, 0, 5, {9}), Victims{6});
}

TEST(Policy, LfuEvictsWhatWasCalledLeastThenLongestAgo) {
    const auto policy = make_policy("lfu", one_layer(3), Scope::layer);
    for (const std::int32_t i : {5, 5, 5, 6, 7}) call(*policy, 0, 0, {i});
    EXPECT_EQ(call(*policy, 0, 1, {8}), Victims{6});
    EXPECT_EQ(call(*policy, 0, 2, {6}), Victims{7});  // its count was kept: 6 has 2 calls
    EXPECT_EQ(call(*policy, 0, 3, {9}), Victims{8});
}

TEST(Policy, DecayForgetsOldCalls) {
    const auto policy = make_decay_policy(0.5, one_layer(2), Scope::layer);
    call(*policy, 0, 0, {1});
    call(*policy, 0, 1, {1});  // 1.5 at step 1
    call(*policy, 0, 2, {2});  // 1 at step 2, when expert 1 has 0.75
    EXPECT_EQ(call(*policy, 0, 3, {3}), Victims{1});
}

TEST(Policy, DecayAddsCallsUp) {
    const auto policy = make_decay_policy(0.9, one_layer(2), Scope::layer);
    call(*policy, 0, 0, {1});
    call(*policy, 0, 1, {1});  // 1.9 at step 1
    call(*policy, 0, 2, {2});  // 1 at step 2, when expert 1 has 1.71
    EXPECT_EQ(call(*policy, 0, 3, {3}), Victims{2});
}

TEST(Policy, DecayStaysFiniteOverALongLife) {
    const auto policy = make_decay_policy(0.5, one_layer(4), Scope::layer);
    for (std::int64_t step : {std::int64_t{0}, std::int64_t{1} << 20, std::int64_t{1} << 40}) {
        call(*policy, 0, step, {1, 2});
        call(*policy, 0, step + 1, {2});
        EXPECT_GT(policy->score({0, 2}), policy->score({0, 1}));
        EXPECT_TRUE(std::isfinite(policy->score({0, 2})));
    }
}

TEST(Policy, RandomTreatsAllAlikeAndRepeatsItself) {
    std::vector<int> n_evicted(8);
    for (int run = 0; run < 2; ++run) {
        const auto policy = make_policy("random", {1, 8, 1, 4}, Scope::layer);
        std::vector<int> counts(8);
        for (std::int64_t step = 0; step < 8000; ++step)
            for (const std::int32_t i : call(*policy, 0, step, {static_cast<std::int32_t>(step % 8)}))
                ++counts[static_cast<std::size_t>(i)];
        for (const int n : counts) EXPECT_NEAR(n, counts[0], 120);
        if (run == 0) n_evicted = counts;
        EXPECT_EQ(counts, n_evicted);
    }
}

TEST(Policy, LayersHaveQuotas) {
    const auto policy =
        make_policy("lru", {.n_layers = 3, .n_experts = 8, .top_k = 2, .n_slots = 7}, Scope::layer);
    EXPECT_EQ(call(*policy, 0, 0, {0, 1}), Victims{});
    EXPECT_EQ(call(*policy, 0, 1, {2}), Victims{});  // the first layer gets the slot that is left over
    EXPECT_EQ(call(*policy, 0, 2, {3}), Victims{0});
    EXPECT_EQ(call(*policy, 1, 2, {4, 5}), Victims{});
    EXPECT_EQ(call(*policy, 1, 3, {6}), Victims{104});
    EXPECT_TRUE(policy->has_room(2));
}

TEST(Policy, OnePoolTakesFromAnyLayer) {
    const auto policy =
        make_policy("lru", {.n_layers = 3, .n_experts = 8, .top_k = 2, .n_slots = 4}, Scope::global);
    EXPECT_EQ(call(*policy, 0, 0, {0}), Victims{});
    EXPECT_EQ(call(*policy, 1, 0, {1}), Victims{});
    EXPECT_EQ(call(*policy, 2, 0, {2}), Victims{});
    EXPECT_EQ(call(*policy, 0, 1, {0}), Victims{});
    EXPECT_EQ(call(*policy, 1, 1, {3, 4}), Victims{101});
    EXPECT_EQ(call(*policy, 2, 1, {5}), Victims{202});
}

TEST(Policy, PinnedExpertsStay) {
    for (const Scope scope : {Scope::layer, Scope::global}) {
        for (const std::string_view name : policy_names()) {
            const auto policy = make_policy(name, one_layer(3), scope);
            call(*policy, 0, 0, {0, 1, 2});
            policy->pin({0, 0});
            policy->pin({0, 2});
            policy->pin({0, 2});
            policy->unpin({0, 2});
            EXPECT_EQ(policy->victim(0), (ExpertId{0, 1})) << name;
            policy->pin({0, 1});
            EXPECT_EQ(policy->victim(0), std::nullopt) << name;
            policy->unpin({0, 2});
            EXPECT_EQ(policy->victim(0), (ExpertId{0, 2})) << name;
        }
    }
}

TEST(Policy, AQuotaSmallerThanARequestLoadsWhatFits) {
    for (const std::string_view name : policy_names()) {
        const auto policy = make_policy(name, one_layer(2), Scope::layer);
        EXPECT_EQ(call(*policy, 0, 0, {0, 1, 2, 3}), Victims{}) << name;
        EXPECT_EQ(policy->n_resident(), 2) << name;
    }
}

TEST(Policy, NoSlotsAreNoVictims) {
    for (const std::string_view name : policy_names()) {
        const auto policy = make_policy(name, one_layer(0), Scope::global);
        EXPECT_EQ(call(*policy, 0, 0, {0, 1}), Victims{}) << name;
        EXPECT_EQ(policy->n_resident(), 0) << name;
    }
}

TEST(Policy, NamesTheMissingExpertsThatItValuesMost) {
    const auto policy = make_policy("lfu", one_layer(2), Scope::layer);
    for (const std::int32_t i : {5, 6, 7, 5, 6, 5, 9, 8}) call(*policy, 0, 0, {i});
    std::vector<std::int32_t> wanted(3);  // 5 was called three times, 6 twice, the others once, 7 before 9
    EXPECT_EQ(policy->most_wanted(0, wanted), 3);
    EXPECT_EQ(wanted, (std::vector<std::int32_t>{6, 9, 7}));
    wanted.resize(20);
    EXPECT_EQ(policy->most_wanted(0, wanted), 14);  // all but the two that are there
    EXPECT_EQ(policy->most_wanted(0, {}), 0);
}

TEST(Policy, UnknownNamesAreRefusedWithTheKnownOnes) {
    test::expect_error(ErrorKind::bad_input, {"'best'", "lru, lfu, fifo, random"},
                       [] { make_policy("best", one_layer(2), Scope::layer); });
}

TEST(Policy, TheDefaultIsTheFirstName) { EXPECT_EQ(policy_names().front(), kDefaultPolicy); }

TEST(Policy, NothingAllocatesOnceConstructed) {
    const CacheShape shape{.n_layers = 3, .n_experts = 32, .top_k = 4, .n_slots = 24};
    for (const Scope scope : {Scope::layer, Scope::global}) {
        for (const std::string_view name : policy_names()) {
            const auto policy = make_policy(name, shape, scope);
            std::mt19937 generator(7);
            const std::int64_t before = test::allocation_count();
            for (std::int64_t step = 0; step < 300; ++step) {
                for (int layer = 0; layer < 3; ++layer) {
                    const auto first = static_cast<std::int32_t>(generator() % 29);
                    const std::array<std::int32_t, 4> experts{first, first + 1, first + 2, first + 3};
                    const std::array<float, 4> weights{0.4F, 0.3F, 0.2F, 0.1F};
                    policy->on_request(
                        {.layer = layer, .step = step, .experts = experts, .weights = weights});
                    policy->on_prediction({.layer = (layer + 1) % 3, .step = step, .experts = experts});
                    for (const std::int32_t i : experts) policy->pin({layer, i});
                    for (const std::int32_t i : experts) {
                        if (policy->is_resident({layer, i})) continue;
                        if (!policy->has_room(layer)) policy->on_evict(policy->victim(layer).value());
                        policy->on_load({layer, i});
                    }
                    for (const std::int32_t i : experts) policy->unpin({layer, i});
                }
            }
            EXPECT_EQ(test::allocation_count(), before) << name << ' ' << scope_name(scope);
            EXPECT_EQ(policy->n_resident(), 24);
        }
    }
}

}  // namespace
}  // namespace greenroom::cache
