// Calls of experts split into hits and misses, and the sum that comes back from the host.

#include "gpu/kernels/calls.h"

#include "gpu/memory.h"
#include "gpu/step_state.h"
#include "tests/gpu/device_array.h"
#include "tests/gpu/device_cache.h"
#include "tests/gpu/lane_orders.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

namespace greenroom::gpu {
namespace {

using greenroom::test::random_floats;
using test::DeviceArray;

class CallsTest : public test::GpuTest {
  protected:
    // Calls of experts, of which those with an even index (or none, or all) have a slot.
    enum class Resident { none, even, all };

    void expect_split(const std::vector<std::int32_t>& experts, int n_experts, Resident resident) {
        Stream stream;
        std::vector<std::byte> slots(static_cast<std::size_t>(n_experts));
        const auto has_slot = [&](int e) {
            return resident == Resident::all || (resident == Resident::even && e % 2 == 0);
        };
        std::vector<const std::byte*> table;
        for (int e = 0; e < n_experts; ++e)
            table.push_back(has_slot(e) ? &slots[static_cast<std::size_t>(e)] : nullptr);
        const std::size_t n_calls = experts.size();
        const auto weights = random_floats(static_cast<std::int64_t>(n_calls), 41);
        const DeviceArray<const std::byte*> device_table(stream, table);
        const DeviceArray<std::int32_t> device_experts(stream, experts);
        const DeviceArray<float> device_weights(stream, weights);
        const DeviceArray<std::int32_t> n_groups(stream, 1);
        const DeviceArray<std::int32_t> n_misses(stream, 1);
        const DeviceArray<const std::byte*> group_slots(stream, n_calls);
        const DeviceArray<std::int32_t> group_experts(stream, n_calls);
        const DeviceArray<std::int32_t> first(stream, n_calls + 1);
        const DeviceArray<std::int32_t> calls(stream, n_calls);
        const auto step = test::step_at(stream, 0, 77);
        const PinnedBuffer mapped(static_cast<std::int64_t>(n_calls) * 12 + 4, "test");
        HostCalls host;
        host.experts = mapped.as<std::int32_t>();
        host.weights = reinterpret_cast<float*>(host.experts + n_calls);
        host.missed = host.experts + 2 * n_calls;
        host.ready = reinterpret_cast<std::uint32_t*>(host.experts + 3 * n_calls);
        *host.ready = 76;
        split_calls(stream,
                    {n_groups.data(), n_misses.data(), group_slots.data(), group_experts.data(), first.data(),
                     calls.data()},
                    host, {device_experts.data(), n_calls}, {device_weights.data(), n_calls},
                    {device_table.data(), table.size()}, step.data());
        stream.synchronize();

        EXPECT_EQ(std::atomic_ref(*host.ready).load(), 77U);
        std::vector<std::int32_t> missed;
        std::vector<std::vector<std::int32_t>> calls_of(static_cast<std::size_t>(n_experts));
        int expected_misses = 0;
        for (std::size_t c = 0; c < n_calls; ++c) {
            const bool hit = has_slot(experts[c]);
            missed.push_back(hit ? -1 : experts[c]);
            expected_misses += hit ? 0 : 1;
            if (hit) calls_of[static_cast<std::size_t>(experts[c])].push_back(static_cast<std::int32_t>(c));
        }
        EXPECT_EQ(std::vector<std::int32_t>(host.experts, host.experts + n_calls), experts);
        EXPECT_EQ(std::vector<float>(host.weights, host.weights + n_calls), weights);
        EXPECT_EQ(std::vector<std::int32_t>(host.missed, host.missed + n_calls), missed);
        EXPECT_EQ(n_misses.download()[0], expected_misses);

        std::vector<std::int32_t> expected_calls;
        std::size_t group = 0;
        const auto firsts = first.download();
        for (std::size_t e = 0; e < calls_of.size(); ++e) {
            if (calls_of[e].empty()) continue;
            EXPECT_EQ(group_experts.download()[group], static_cast<std::int32_t>(e));
            EXPECT_EQ(group_slots.download()[group], table[e]);
            EXPECT_EQ(firsts[group], static_cast<std::int32_t>(expected_calls.size()));
            expected_calls.insert(expected_calls.end(), calls_of[e].begin(), calls_of[e].end());
            ++group;
        }
        EXPECT_EQ(n_groups.download()[0], static_cast<std::int32_t>(group));
        EXPECT_EQ(firsts[group], static_cast<std::int32_t>(expected_calls.size()));
        auto actual_calls = calls.download();
        actual_calls.resize(expected_calls.size());
        EXPECT_EQ(actual_calls, expected_calls);
    }

    static std::vector<std::int32_t> random_experts(std::size_t n_calls, int n_experts) {
        std::mt19937 random(42);
        std::vector<std::int32_t> experts(n_calls);
        for (auto& e : experts) e = static_cast<std::int32_t>(random() % static_cast<unsigned>(n_experts));
        return experts;
    }
};

TEST_P(CallsTest, HitsAreGroupedByExpertAndMissesAreTold) {
    for (const Resident resident : {Resident::none, Resident::even, Resident::all}) {
        expect_split({5, 2, 7, 0}, 8, resident);
        expect_split({3}, 8, resident);
    }
    expect_split(random_experts(700, 60), 60, Resident::even);
    expect_split(random_experts(64, 512), 512, Resident::even);
}

// Of a model with rows longer than a block, and two tokens.
TEST_P(CallsTest, WhatTheExpertsAreGivenIsToldIfAnyHasMissed) {
    Stream stream;
    constexpr std::int64_t kTokens = 2;
    constexpr std::int64_t kColumns = 700;
    constexpr std::int64_t kStride = 710;
    const auto values = random_floats(kTokens * kStride, 46);
    const DeviceArray<float> x(stream, values);
    const DeviceArray<std::int32_t> experts(stream, std::vector<std::int32_t>{1, 0, 2, 1});
    const DeviceArray<float> weights(stream, random_floats(4, 47));
    const DeviceArray<std::int32_t> counts(stream, 2);
    const DeviceArray<const std::byte*> group_slots(stream, 3);
    const DeviceArray<std::int32_t> groups(stream, 3 + 4 + 4);
    const auto step = test::step_at(stream, 0, 5);
    const PinnedBuffer mapped(1024, "test");
    const PinnedBuffer told(kTokens * kColumns * 4, "test");
    HostCalls host;
    host.experts = mapped.as<std::int32_t>();
    host.weights = mapped.as<float>() + 4;
    host.missed = host.experts + 8;
    host.ready = mapped.as<std::uint32_t>() + 12;
    host.x = told.as<float>();
    const std::byte slot{};
    for (const bool third_has_slot : {true, false}) {
        std::fill_n(host.x, kTokens * kColumns, -7.0F);
        const DeviceArray<const std::byte*> slots(
            stream, std::vector<const std::byte*>{&slot, &slot, third_has_slot ? &slot : nullptr});
        split_calls(stream,
                    {counts.data(), counts.data() + 1, group_slots.data(), groups.data(), groups.data() + 3,
                     groups.data() + 7},
                    host, {experts.data(), 4}, {weights.data(), 4}, {slots.data(), 3}, step.data(),
                    x.matrix(kTokens, kColumns, kStride));
        stream.synchronize();
        EXPECT_EQ(std::atomic_ref(*host.ready).load(), 5U);
        for (std::int64_t t = 0; t < kTokens; ++t)
            for (std::int64_t i = 0; i < kColumns; ++i)
                ASSERT_EQ(host.x[t * kColumns + i],
                          third_has_slot ? -7.0F : values[static_cast<std::size_t>(t * kStride + i)]);
    }
}

TEST_P(CallsTest, ExpertsWithoutASlotAreToldBeforeTheyAreCalled) {
    Stream stream;
    const auto experts = random_experts(50, 40);
    const std::byte slot{};
    std::vector<const std::byte*> table;
    for (int e = 0; e < 40; ++e) table.push_back(e % 3 == 0 ? nullptr : &slot);
    const DeviceArray<std::int32_t> device_experts(stream, experts);
    const DeviceArray<const std::byte*> slots(stream, table);
    const auto step = test::step_at(stream, 0, 6);
    const PinnedBuffer mapped(51 * 4, "test");
    auto* missed = mapped.as<std::int32_t>();
    auto* ready = mapped.as<std::uint32_t>() + 50;
    *ready = 5;
    tell_missed(stream, missed, ready, {device_experts.data(), 50}, {slots.data(), 40}, step.data());
    stream.synchronize();
    EXPECT_EQ(std::atomic_ref(*ready).load(), 6U);
    for (std::size_t i = 0; i < experts.size(); ++i)
        EXPECT_EQ(missed[i], experts[i] % 3 == 0 ? experts[i] : -1);
}

class WaitAndAddTest : public CallsTest {};

TEST_P(WaitAndAddTest, AddsWhatTheHostDeliversLater) {
    Stream stream;
    const auto before = random_floats(3 * 40, 43);
    const auto partial = random_floats(3 * 37, 44);
    const DeviceArray<float> out(stream, before);
    const auto step = test::step_at(stream, 0, 9);
    const DeviceArray<std::int32_t> n_misses(stream, std::vector<std::int32_t>{2});
    const PinnedBuffer mapped(4 + 3 * 37 * 4, "test");
    auto* flag = mapped.as<std::uint32_t>();
    auto* values = mapped.as<float>() + 1;
    *flag = 8;
    wait_and_add(stream, out.matrix(3, 37, 40), {values, 3, 37, 37}, flag, n_misses.data(), step.data());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_FALSE(stream.idle());
    std::copy(partial.begin(), partial.end(), values);
    std::atomic_ref(*flag).store(9, std::memory_order_release);
    auto expected = before;
    for (std::size_t t = 0; t < 3; ++t)
        for (std::size_t i = 0; i < 37; ++i) expected[t * 40 + i] += partial[t * 37 + i];
    EXPECT_EQ(out.download(), expected);
}

TEST_P(WaitAndAddTest, NothingIsAddedWithoutMissesOrWhenTheHostGivesUp) {
    Stream stream;
    const auto before = random_floats(20, 45);
    const DeviceArray<float> out(stream, before);
    const auto step = test::step_at(stream, 0, 9);
    const DeviceArray<std::int32_t> none(stream, std::vector<std::int32_t>{0});
    const PinnedBuffer mapped(4 + 20 * 4, "test");
    auto* flag = mapped.as<std::uint32_t>();
    auto* values = mapped.as<float>() + 1;
    std::fill_n(values, 20, 1.0F);
    *flag = 8;
    wait_and_add(stream, out.matrix(1, 20), {values, 1, 20, 20}, flag, none.data(), step.data());
    EXPECT_EQ(out.download(), before);
    *flag = kGivenUp;
    wait_and_add(stream, out.matrix(1, 20), {values, 1, 20, 20}, flag, nullptr, step.data());
    EXPECT_EQ(out.download(), before);
}

GR_RUN_IN_LANE_ORDERS(CallsTest);
GR_RUN_IN_LANE_ORDERS(WaitAndAddTest);

}  // namespace
}  // namespace greenroom::gpu
