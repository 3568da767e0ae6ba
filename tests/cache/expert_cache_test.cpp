// The RAM tier against a mover whose reads end when the test says: who is pinned, evicted, read ahead, and
// what is left after a failure.

#include "cache/expert_cache.h"

#include "cache/policies.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/errors.h"
#include "tests/support/fake_mover.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <random>
#include <set>
#include <vector>

namespace greenroom::cache {
namespace {

using std::chrono::microseconds;

constexpr int kLayers = 2;
constexpr int kExperts = 6;
constexpr int kTopK = 2;
constexpr std::int64_t kQuota = 3;  // of each layer
constexpr std::int64_t kSpare = 2;
constexpr std::int64_t kSlots = kLayers * kQuota + kSpare;
constexpr std::int64_t kAlignment = 64;

class ExpertCacheTest : public testing::Test {
  protected:
    ExpertCacheTest() {
        // Three matrices of 100 bytes each, at odd places of the file.
        std::int64_t slot_bytes = 0;
        for (std::int64_t i = 0; i < kLayers * kExperts; ++i) {
            std::array<ByteRange, 3> ranges;
            for (std::int64_t m = 0; m < 3; ++m)
                ranges[static_cast<std::size_t>(m)] = {0, m * 100'000 + i * 100, 100};
            layouts_.emplace_back(ranges, kAlignment);
            slot_bytes = std::max(slot_bytes, layouts_.back().slot_bytes());
        }
        plan_ = std::make_unique<SlotPlan>(std::vector<std::int64_t>(kLayers, slot_bytes),
                                           SlotPlanOptions{.n_experts = kExperts,
                                                           .top_k = kTopK,
                                                           .n_spare = kSpare,
                                                           .budget_bytes = kSlots * slot_bytes});
        memory_.resize(static_cast<std::size_t>(plan_->total_bytes() + kAlignment));
        void* at = memory_.data();
        std::size_t space = memory_.size();
        std::byte* slots = static_cast<std::byte*>(
            std::align(kAlignment, static_cast<std::size_t>(plan_->total_bytes()), at, space));
        policy_ = make_policy("decay", {kLayers, kExperts, kTopK, plan_->n_kept()}, Scope::layer);
        cache_ = std::make_unique<ExpertCache>(*policy_, mover_, slots, *plan_, layouts_);
        // Each byte of the file says whose it is.
        mover_.fill = [](const Copy& copy) {
            const auto owner = static_cast<int>(copy.from.offset % 100'000 / 100);
            std::fill_n(copy.to, copy.from.bytes, static_cast<std::byte>(owner + 1));
        };
    }

    void request(int layer, std::vector<std::int32_t> experts) {
        cache_->on_request({.layer = layer, .step = step_++, .experts = experts});
    }

    // Demands, has everything read, releases.
    void use(ExpertId id) {
        request(id.layer, {id.index});
        ASSERT_NE(cache_->demand(id), Demand::no_slot);
        mover_.finish_all();
        take_in();
        expect_bytes(id);
        cache_->settle(id.layer);
        cache_->release(id);
        cache_->settle(id.layer);
    }

    std::vector<ExpertId> take_in(microseconds timeout = microseconds(0)) {
        std::vector<ExpertId> arrived(16);
        arrived.resize(cache_->take_in(arrived, timeout));
        return arrived;
    }

    void expect_bytes(ExpertId id) const {
        ASSERT_TRUE(cache_->is_resident(id));
        for (std::size_t part = 0; part < 3; ++part)
            for (int i = 0; i < 100; ++i)
                ASSERT_EQ(cache_->part(id, part)[i],
                          static_cast<std::byte>(id.layer * kExperts + id.index + 1));
    }

    std::vector<SlotLayout> layouts_;
    std::unique_ptr<SlotPlan> plan_;
    std::vector<std::byte> memory_;
    std::unique_ptr<Policy> policy_;
    test::FakeMover mover_;
    std::unique_ptr<ExpertCache> cache_;
    std::int64_t step_ = 0;
};

TEST_F(ExpertCacheTest, MissIsReadAndThenAHit) {
    request(0, {4});
    EXPECT_EQ(cache_->demand({0, 4}), Demand::reading);
    EXPECT_FALSE(cache_->is_resident({0, 4}));
    EXPECT_TRUE(take_in().empty());
    mover_.finish_all();
    EXPECT_EQ(take_in(), (std::vector<ExpertId>{{0, 4}}));
    expect_bytes({0, 4});
    cache_->release({0, 4});
    EXPECT_EQ(cache_->demand({0, 4}), Demand::hit);
    EXPECT_EQ(cache_->total().n_hits, 1);
    EXPECT_EQ(cache_->total().n_misses, 1);
    EXPECT_EQ(cache_->total().n_bytes_read, 300);
    EXPECT_EQ(cache_->counters(1).n_misses, 0);
}

TEST_F(ExpertCacheTest, WhatThePolicyValuesLeastMakesRoom) {
    for (const int index : {0, 1, 2}) use({0, index});
    use({0, 0});
    use({0, 3});
    EXPECT_TRUE(cache_->is_resident({0, 0}));
    EXPECT_FALSE(cache_->is_resident({0, 1}));
    EXPECT_EQ(cache_->n_resident(), kQuota);
}

TEST_F(ExpertCacheTest, ALayerMayUseMoreThanItsQuotaUntilItIsSettled) {
    request(0, {0, 1, 2, 3, 4});
    for (const int index : {0, 1, 2, 3, 4}) EXPECT_EQ(cache_->demand({0, index}), Demand::reading);
    mover_.finish_all();
    EXPECT_EQ(take_in().size(), 5U);
    cache_->settle(0);
    EXPECT_EQ(cache_->n_resident(), 5) << "all are in use";
    cache_->release({0, 1});
    cache_->release({0, 4});
    cache_->settle(0);
    EXPECT_EQ(cache_->n_resident(), kQuota);
    for (const int index : {0, 2, 3}) expect_bytes({0, index});
    cache_->release_all(0);
    for (const int index : {0, 2, 3}) EXPECT_FALSE(cache_->is_demanded({0, index}));
    EXPECT_TRUE(cache_->is_resident({0, 3}));
}

TEST_F(ExpertCacheTest, WhatIsInUseStaysAndADemandForMoreIsRefused) {
    request(0, {0, 1, 2, 3, 4, 5});
    for (const int index : {0, 1, 2, 3, 4, 5}) EXPECT_EQ(cache_->demand({0, index}), Demand::reading);
    for (const int index : {0, 1}) EXPECT_EQ(cache_->demand({1, index}), Demand::reading);
    EXPECT_EQ(cache_->demand({1, 3}), Demand::no_slot) << "all are being read";
    mover_.finish_all();
    EXPECT_EQ(take_in().size(), 8U);
    EXPECT_EQ(cache_->demand({1, 3}), Demand::no_slot) << "all are in use";
    cache_->release({0, 1});
    EXPECT_EQ(cache_->demand({1, 3}), Demand::reading) << "layer 0 has more than its quota";
    EXPECT_FALSE(cache_->is_resident({0, 1}));
    EXPECT_EQ(cache_->demand({1, 4}), Demand::no_slot);
    cache_->release({1, 0});
    EXPECT_EQ(cache_->demand({1, 4}), Demand::reading) << "of its own";
    mover_.finish_all();
    take_in();
    for (const int index : {0, 2, 3, 4, 5}) expect_bytes({0, index});
    for (const int index : {1, 3, 4}) expect_bytes({1, index});
}

TEST_F(ExpertCacheTest, PrefetchedExpertIsAHitLater) {
    EXPECT_TRUE(cache_->prefetch({1, 2}));
    EXPECT_FALSE(cache_->prefetch({1, 2})) << "on its way";
    EXPECT_EQ(mover_.under_way().front().priority, Priority::prefetch);
    mover_.finish_all();
    EXPECT_TRUE(take_in().empty()) << "nobody has demanded it";
    EXPECT_FALSE(cache_->prefetch({1, 2})) << "there";
    EXPECT_EQ(cache_->demand({1, 2}), Demand::hit);
    expect_bytes({1, 2});
    EXPECT_EQ(cache_->total().n_prefetched, 1);
    EXPECT_EQ(cache_->total().n_useful, 1);
}

TEST_F(ExpertCacheTest, DemandForWhatIsBeingReadAheadIsPromoted) {
    cache_->prefetch({1, 2});
    EXPECT_EQ(cache_->demand({1, 2}), Demand::reading);
    EXPECT_EQ(mover_.under_way().front().priority, Priority::demanded);
    EXPECT_EQ(mover_.under_way().size(), 1U);
    EXPECT_EQ(take_in(microseconds(1000)), (std::vector<ExpertId>{{1, 2}}));
    EXPECT_EQ(cache_->total().n_late, 1);
    EXPECT_EQ(cache_->total().n_misses, 0);
}

TEST_F(ExpertCacheTest, ReadingAheadEvictsNobodyAndLeavesRoomForAToken) {
    for (const int layer : {0, 1})
        for (const int index : {0, 1, 2}) use({layer, index});
    EXPECT_FALSE(cache_->prefetch({0, 5})) << "the spare slots are for demands";
    EXPECT_FALSE(cache_->fill({0, 5}));
    EXPECT_EQ(cache_->n_resident(), kLayers * kQuota);
}

TEST_F(ExpertCacheTest, FillingEndsAtTheQuota) {
    for (const int index : {0, 1, 2}) EXPECT_TRUE(cache_->fill({0, index}));
    EXPECT_FALSE(cache_->fill({0, 3}));
    EXPECT_TRUE(cache_->prefetch({0, 3}));
    EXPECT_EQ(cache_->n_ahead(), 4);
    mover_.finish_all();
    take_in();
    EXPECT_EQ(cache_->n_ahead(), 0);
    cache_->settle(0);
    EXPECT_EQ(cache_->n_resident(), kQuota);
    EXPECT_EQ(cache_->total().n_filled, 3);
    EXPECT_EQ(cache_->total().n_prefetched, 1);
}

TEST_F(ExpertCacheTest, SettlingLeavesWhatIsBeingReadAheadOutOfTheCount) {
    for (const int index : {0, 1, 2}) use({0, index});
    ASSERT_TRUE(cache_->prefetch({0, 3}));
    cache_->settle(0);
    EXPECT_EQ(cache_->n_resident(), kQuota) << "nobody goes for a guess";
    cache_->cancel_prefetches(0);
    mover_.finish_all();
    take_in();
    EXPECT_EQ(cache_->n_resident(), kQuota);
}

TEST_F(ExpertCacheTest, CancelledPrefetchLeavesItsSlotToOthers) {
    for (const int index : {0, 1, 2, 3}) ASSERT_TRUE(cache_->prefetch({0, index}));
    for (const int index : {0, 1}) ASSERT_TRUE(cache_->prefetch({1, index}));
    EXPECT_FALSE(cache_->prefetch({1, 2}));
    EXPECT_EQ(cache_->demand({0, 0}), Demand::reading);
    for (const int index : {4, 5}) EXPECT_EQ(cache_->demand({0, index}), Demand::reading);
    cache_->cancel_prefetches(0);
    EXPECT_EQ(cache_->demand({1, 3}), Demand::no_slot) << "a cancelled read may still write";
    mover_.finish_all();
    EXPECT_EQ(take_in(), (std::vector<ExpertId>{{0, 0}, {0, 4}, {0, 5}}));
    EXPECT_EQ(cache_->demand({1, 3}), Demand::reading);
    EXPECT_EQ(cache_->total().n_wasted, 3);
}

TEST_F(ExpertCacheTest, ADemandThatFollowsTheCancellationIsReadAgain) {
    cache_->prefetch({0, 1});
    cache_->cancel_prefetches(0);
    EXPECT_EQ(cache_->demand({0, 1}), Demand::reading);
    mover_.finish_all();
    EXPECT_TRUE(take_in().empty());
    ASSERT_EQ(mover_.under_way().size(), 1U);
    mover_.finish_all();
    EXPECT_EQ(take_in(), (std::vector<ExpertId>{{0, 1}}));
    expect_bytes({0, 1});
}

TEST_F(ExpertCacheTest, FailedReadIsAnErrorAndNothingElseIsLost) {
    request(0, {0, 1});
    cache_->demand({0, 0});
    cache_->demand({0, 1});
    mover_.fail_one("model.gguf: read 300 bytes at 0: found an I/O error");
    mover_.finish_all();
    test::expect_error(ErrorKind::io, {"model.gguf", "I/O error"}, [&] { take_in(); });
    EXPECT_FALSE(cache_->is_resident({0, 0}));
    expect_bytes({0, 1});
    EXPECT_EQ(cache_->n_reading(), 0);
    EXPECT_EQ(cache_->total().n_failed, 1);
    cache_->release({0, 1});
    use({0, 0});
}

TEST_F(ExpertCacheTest, FailedPrefetchIsForgotten) {
    cache_->prefetch({0, 0});
    mover_.fail_one("nothing");
    EXPECT_TRUE(take_in().empty());
    EXPECT_EQ(cache_->total().n_wasted, 1);
    use({0, 0});
}

TEST_F(ExpertCacheTest, AFullMoverRefusesAndTakesBackNothing) {
    mover_.max_requests = 1;
    EXPECT_EQ(cache_->demand({0, 0}), Demand::reading);
    EXPECT_EQ(cache_->demand({0, 1}), Demand::no_slot);
    EXPECT_FALSE(cache_->prefetch({1, 1}));
    mover_.finish_all();
    take_in();
    EXPECT_EQ(cache_->demand({0, 1}), Demand::reading);
}

// Whatever is demanded, read ahead, cancelled, late or failing: a demanded expert gets its own bytes, slots
// are neither lost nor given out twice, and nothing is allocated.
TEST_F(ExpertCacheTest, AnyOrderOfEventsKeepsTheBooksRight) {
    std::mt19937 random(7);
    const auto pick = [&random](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
    std::set<std::pair<int, int>> in_use;
    std::array<ExpertId, 16> arrived;
    for (int i = 0; i < 20'000; ++i) {
        const ExpertId id{pick(kLayers), pick(kExperts)};
        switch (pick(9)) {
            case 0:
            case 1:
                if (in_use.contains({id.layer, id.index})) break;
                request(id.layer, {id.index});
                if (cache_->demand(id) != Demand::no_slot) in_use.insert({id.layer, id.index});
                break;
            case 2:
                cache_->prefetch(id);
                break;
            case 3:
                cache_->cancel_prefetches(id.layer);
                break;
            case 6:
                cache_->fill(id);
                break;
            case 7:
                cache_->settle(id.layer);
                break;
            case 4:
                if (!mover_.under_way().empty()) mover_.finish_one();
                cache_->take_in(arrived, microseconds(0));
                break;
            case 5:
                if (pick(10) == 0 && !mover_.under_way().empty()) {
                    const ExpertId failed{static_cast<int>(mover_.under_way().front().tag) / kExperts,
                                          static_cast<int>(mover_.under_way().front().tag) % kExperts};
                    mover_.fail_one("injected");
                    try {
                        cache_->take_in(arrived, microseconds(0));
                    } catch (const Error&) {
                        in_use.erase({failed.layer, failed.index});
                    }
                }
                break;
            default:
                for (auto used = in_use.begin(); used != in_use.end();) {
                    const ExpertId done{used->first, used->second};
                    if (!cache_->is_resident(done)) {
                        ++used;
                        continue;
                    }
                    expect_bytes(done);
                    cache_->release(done);
                    used = in_use.erase(used);
                }
        }
        ASSERT_LE(cache_->n_resident() + cache_->n_reading(), kSlots);
    }
    mover_.finish_all();
    while (cache_->n_reading() > 0) {
        mover_.finish_all();
        cache_->take_in(arrived, microseconds(0));
    }
    for (const auto& [layer, index] : in_use) expect_bytes({layer, index});
    for (int layer = 0; layer < kLayers; ++layer) {
        cache_->release_all(layer);
        cache_->settle(layer);
        EXPECT_LE(policy_->n_over(layer), 0);
    }
    EXPECT_EQ(cache_->n_ahead(), 0);
}

TEST_F(ExpertCacheTest, HitsAllocateNothing) {
    use({0, 1});
    const std::array<std::int32_t, 1> called{1};
    const std::int64_t before = test::allocation_count();
    for (int i = 0; i < 100; ++i) {
        cache_->on_request({.layer = 0, .step = step_++, .experts = called});
        cache_->demand({0, 1});
        cache_->release({0, 1});
    }
    EXPECT_EQ(test::allocation_count(), before);
}

TEST(CacheCounters, DifferencesAreWhatHappenedInBetween) {
    CacheCounters before;
    before.n_hits = 5;
    before.n_misses = 5;
    before.stall_us = 7;
    CacheCounters later = before;
    later.n_hits += 6;
    later.n_late += 1;
    later.n_misses += 1;
    later.n_bytes_read += 100;
    later -= before;
    EXPECT_EQ(later.n_demanded(), 8);
    EXPECT_DOUBLE_EQ(later.hit_rate(), 0.75);
    EXPECT_EQ(later.n_bytes_read, 100);
    EXPECT_EQ(later.stall_us, 0);
    EXPECT_EQ(CacheCounters().hit_rate(), 0);
}

}  // namespace
}  // namespace greenroom::cache
