#include "cache/simulator.h"
#include "cache/policies.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace greenroom::cache {
namespace {

Trace short_trace() { return read_trace(test::test_data("traces/qwen3-30b-a3b-short").string()); }

Trace random_trace(unsigned seed, std::int64_t n_tokens, int n_layers, int top_k, int n_experts) {
    std::mt19937 generator(seed);
    Trace trace;
    trace.n_tokens = n_tokens;
    trace.n_layers = n_layers;
    trace.top_k = top_k;
    trace.n_experts = n_experts;
    std::vector<std::uint16_t> all(static_cast<std::size_t>(n_experts));
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
    for (std::int64_t row = 0; row < n_tokens * n_layers; ++row) {
        std::shuffle(all.begin(), all.end(), generator);
        trace.experts.insert(trace.experts.end(), all.begin(), all.begin() + top_k);
    }
    trace.sequence.resize(static_cast<std::size_t>(n_tokens));
    trace.phase.resize(static_cast<std::size_t>(n_tokens));
    return trace;
}

// The most hits that any sequence of victims reaches: all sets of residents that can be had after a request,
// each with the most hits on the way. Experts of all layers are bits of one set.
std::int64_t most_hits(const Trace& trace, int n_slots) {
    std::map<std::uint32_t, std::int64_t> reached{{0, 0}};
    for (std::int64_t time = 0; time < trace.n_tokens * trace.n_layers; ++time) {
        std::uint32_t request = 0;
        const std::size_t row = trace.row(time / trace.n_layers, static_cast<int>(time % trace.n_layers));
        for (int k = 0; k < trace.top_k; ++k)
            request |=
                1U << (trace.experts[row + static_cast<std::size_t>(k)] +
                       static_cast<unsigned>(time % trace.n_layers) * static_cast<unsigned>(trace.n_experts));
        std::map<std::uint32_t, std::int64_t> next;
        for (const auto& [residents, hits] : reached) {
            const std::int64_t hits_now = hits + std::popcount(residents & request);
            const std::uint32_t others = residents & ~request;
            // Every subset of the others that leaves the fewest slots empty.
            const int n_keep = std::min(std::popcount(others), n_slots - std::popcount(request));
            for (std::uint32_t kept = others;; kept = (kept - 1) & others) {
                if (std::popcount(kept) == n_keep) {
                    std::int64_t& best = next[kept | request];
                    best = std::max(best, hits_now);
                }
                if (kept == 0) break;
            }
        }
        reached = std::move(next);
    }
    std::int64_t most = 0;
    for (const auto& [residents, hits] : reached) most = std::max(most, hits);
    return most;
}

TEST(Simulator, BeladyIsTheOptimumOfALayer) {
    for (unsigned seed = 0; seed < 20; ++seed) {
        const Trace trace = random_trace(seed, 30, 1, 2, 8);
        for (const int n_slots : {2, 3, 5}) {
            const auto optimum = make_optimum(trace, {1, 8, 2, n_slots}, Scope::layer);
            EXPECT_EQ(simulate(trace, *optimum).n_hits, most_hits(trace, n_slots)) << seed << ' ' << n_slots;
        }
    }
}

TEST(Simulator, BeladyIsTheOptimumOfOnePool) {
    for (unsigned seed = 0; seed < 20; ++seed) {
        const Trace trace = random_trace(seed, 12, 2, 2, 4);
        for (const int n_slots : {2, 3, 5}) {
            const auto optimum = make_optimum(trace, {2, 4, 2, n_slots}, Scope::global);
            EXPECT_EQ(simulate(trace, *optimum).n_hits, most_hits(trace, n_slots)) << seed << ' ' << n_slots;
        }
    }
}

TEST(Simulator, NoPolicyBeatsTheOptimum) {
    const Trace trace = short_trace();
    for (const Scope scope : {Scope::layer, Scope::global})
        for (const double size : {0.1, 0.3, 0.6})
            for (const std::string_view name : policy_names())
                EXPECT_LE(simulate(trace, name, scope, size).n_hits,
                          simulate(trace, kOptimum, scope, size).n_hits)
                    << name << ' ' << scope_name(scope) << ' ' << size;
}

TEST(Simulator, CountsWhatWasRecordedOnly) {
    const Trace trace = short_trace();
    const std::int64_t absent = std::count(trace.experts.begin(), trace.experts.end(), Trace::kAbsent);
    EXPECT_GT(absent, 0);
    const SimulationResult result = simulate(trace, "lru", Scope::layer, 0.25);
    EXPECT_EQ(result.n_calls, 120 * 12 * 6 - absent);
    EXPECT_EQ(result.n_loads, result.n_calls - result.n_hits);
}

TEST(Simulator, ACacheOfAllExpertsMissesFirstCallsOnly) {
    const Trace trace = short_trace();
    std::vector<bool> seen(12 * 128);
    std::int64_t n_first = 0;
    for (std::size_t i = 0; i < trace.experts.size(); ++i) {
        if (trace.experts[i] == Trace::kAbsent) continue;
        const std::size_t expert = i / 6 % 12 * 128 + trace.experts[i];
        n_first += seen[expert] ? 0 : 1;
        seen[expert] = true;
    }
    for (const Scope scope : {Scope::layer, Scope::global}) {
        for (const std::string_view name : policy_names()) {
            const SimulationResult result = simulate(trace, name, scope, 1.0);
            EXPECT_EQ(result.n_calls - result.n_hits, n_first) << name;
        }
    }
}

TEST(Simulator, ForeseesWhatItsPolicyValues) {
    // Two experts take turns in one slot: from the third call on the one that is missing is the one that LRU
    // remembers.
    Trace trace = random_trace(0, 10, 1, 1, 4);
    for (std::size_t i = 0; i < trace.experts.size(); ++i) trace.experts[i] = i % 2 == 0 ? 3 : 2;
    const SimulationResult result = simulate(trace, "lru", Scope::layer, 0.25, CountForeseen::yes);
    EXPECT_EQ(result.n_hits, 0);
    EXPECT_EQ(result.n_foreseen, 8);
    EXPECT_DOUBLE_EQ(result.foreseen(), 0.8);
}

TEST(Simulator, TheCacheHoldsTheSizeAsked) {
    const Trace trace = short_trace();
    EXPECT_EQ(shape_for(trace, 0.25).n_slots, 12 * 128 / 4);
    EXPECT_EQ(shape_for(trace, 0.0).n_slots, 0);
    const CacheShape shape = shape_for(trace, 0.1);
    EXPECT_EQ(shape.n_slots, 154);
    const auto policy = make_policy("lru", shape, Scope::layer);
    simulate(trace, *policy);
    EXPECT_EQ(policy->n_resident(), 154);
}

struct PublishedRow {
    const char* trace;
    const char* policy;
    Scope scope;
    std::vector<double> sizes;
    std::vector<double> hit_rates;  // percent
};

// The tables that come with the traces, made by another program.
TEST(Simulator, AgreesWithThePublishedTables) {
    const std::vector<double> law{0.10, 0.15, 0.20, 0.25, 0.30, 0.40, 0.50, 0.60, 0.70};
    const std::vector<double> qwen{0.10, 0.15, 0.20, 0.25, 0.30, 0.40, 0.50};
    const PublishedRow rows[] = {
        {"deepseek-v2-lite-law",
         "lru",
         Scope::layer,
         law,
         {30.0, 37.3, 43.9, 49.7, 54.8, 64.4, 72.9, 80.6, 87.1}},
        {"deepseek-v2-lite-law",
         "lru",
         Scope::global,
         law,
         {29.1, 31.0, 40.4, 47.2, 52.5, 62.7, 71.8, 80.2, 87.2}},
        {"deepseek-v2-lite-law",
         "fifo",
         Scope::layer,
         law,
         {29.8, 36.2, 42.1, 47.6, 52.6, 61.8, 70.1, 77.6, 84.0}},
        {"deepseek-v2-lite-law",
         "lfu",
         Scope::layer,
         law,
         {30.2, 38.3, 44.6, 50.4, 55.9, 65.7, 74.3, 81.7, 88.0}},
        {"deepseek-v2-lite-law",
         "decay",
         Scope::layer,
         law,
         {30.3, 39.2, 45.7, 51.3, 56.5, 66.0, 74.3, 81.6, 87.8}},
        {"deepseek-v2-lite-law",
         "belady",
         Scope::layer,
         law,
         {32.2, 50.8, 60.8, 68.0, 73.5, 81.8, 87.6, 91.8, 95.0}},
        {"deepseek-v2-lite-law",
         "belady",
         Scope::global,
         law,
         {50.4, 59.9, 66.9, 72.4, 76.9, 83.9, 89.0, 92.8, 95.7}},
        {"qwen3-30b-a3b-top6of8", "lru", Scope::layer, qwen, {53.2, 64.5, 71.9, 78.1, 82.6, 88.2, 90.6}},
        {"qwen3-30b-a3b-top6of8", "lru", Scope::global, qwen, {49.0, 63.7, 71.4, 78.7, 83.3, 89.3, 91.3}},
        {"qwen3-30b-a3b-top6of8", "lfu", Scope::layer, qwen, {54.8, 64.6, 72.2, 78.3, 82.8, 88.2, 90.6}},
        {"qwen3-30b-a3b-top6of8", "decay", Scope::layer, qwen, {55.7, 66.2, 73.7, 79.3, 83.5, 88.6, 90.7}},
        {"qwen3-30b-a3b-top6of8", "belady", Scope::layer, qwen, {67.2, 77.5, 83.2, 86.8, 89.1, 91.1, 91.5}},
        {"qwen3-30b-a3b-top6of8", "belady", Scope::global, qwen, {72.4, 80.4, 85.2, 88.3, 90.3, 91.7, 91.7}},
    };
    GREENROOM_ORACLE_OR_SKIP(traces, "traces");
    std::map<std::string, Trace> loaded;
    for (const PublishedRow& row : rows) {
        if (!loaded.contains(row.trace)) loaded[row.trace] = read_trace((traces / row.trace).string());
        for (std::size_t i = 0; i < row.sizes.size(); ++i)
            EXPECT_NEAR(100 * simulate(loaded[row.trace], row.policy, row.scope, row.sizes[i]).hit_rate(),
                        row.hit_rates[i], 0.3)
                << row.trace << ' ' << row.policy << ' ' << scope_name(row.scope) << ' ' << row.sizes[i];
    }
}

}  // namespace
}  // namespace greenroom::cache
