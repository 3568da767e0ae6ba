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
