#include "cache/read_queue.h"

#include "tests/cache/patterned_file.h"
#include "tests/support/allocation_counter.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <thread>
#include <vector>

namespace greenroom::cache {
namespace {

constexpr std::int64_t kBlock = 4096;

// A queue with small pieces and a destination that is never written to.
class ReadQueueTest : public testing::Test {
  protected:
    static QueueLimits limits() {
        return {.max_requests = 8, .prefetch_depth = 2, .piece_bytes = 4 * kBlock, .alignment = kBlock};
    }

    Ticket push(std::uint64_t tag, std::int64_t n_pieces, Priority priority = Priority::demanded) {
        const Copy copy{{0, 0, n_pieces * limits().piece_bytes}, &memory_};
        return queue_.push({{&copy, 1}, priority, tag}).value();
    }
    // Tags cannot be seen in pieces; requests are numbered in the order in which they were pushed, from 0.
    std::vector<std::int32_t> take_all() {
        std::vector<std::int32_t> order;
        while (const auto piece = queue_.take()) {
            order.push_back(piece->request);
            taken_.push_back(*piece);
        }
        return order;
    }
    void finish_all() {
        for (const Piece& piece : taken_) queue_.finish(piece, std::nullopt);
        taken_.clear();
    }
    std::vector<Completion> poll() {
        std::vector<Completion> completions(16);
        completions.resize(queue_.poll(completions));
        return completions;
    }

    std::byte memory_{};
    std::vector<Piece> taken_;
    ReadQueue queue_{limits()};
};

using Order = std::vector<std::int32_t>;

TEST_F(ReadQueueTest, DemandedRequestsGoFirstAndInOrder) {
    push(10, 1, Priority::prefetch);
    push(11, 2);
    push(12, 1);
    EXPECT_EQ(take_all(), (Order{1, 1, 2, 0}));
}

TEST_F(ReadQueueTest, PrefetchesTakeOnlyTheirShare) {
    push(10, 3, Priority::prefetch);
    push(11, 3, Priority::prefetch);
    EXPECT_EQ(take_all(), (Order{0, 0}));
    push(12, 5);
    EXPECT_EQ(take_all(), (Order{2, 2, 2, 2, 2}));  // a demanded one finds room, however many pieces it has
    queue_.finish(taken_[0], std::nullopt);
    EXPECT_EQ(take_all(), (Order{0}));
}

TEST_F(ReadQueueTest, APrefetchThatIsWantedAfterAllLeavesItsShare) {
    push(10, 3, Priority::prefetch);
    const Ticket wanted = push(11, 4, Priority::prefetch);
    push(12, 1);
    queue_.promote(wanted);
    EXPECT_EQ(take_all(), (Order{2, 1, 1, 1, 1, 0, 0}));
}

TEST_F(ReadQueueTest, ACancelledRequestThatHasNotBegunIsCompleteAtOnce) {
    push(10, 1);
    const Ticket ticket = push(11, 3, Priority::prefetch);
    queue_.cancel(ticket);
    const auto completions = poll();
    ASSERT_EQ(completions.size(), 1U);
    EXPECT_EQ(completions[0].tag, 11U);
    EXPECT_EQ(completions[0].ticket, ticket);
    EXPECT_EQ(completions[0].outcome, Outcome::cancelled);
    EXPECT_EQ(take_all(), (Order{0}));
}

TEST_F(ReadQueueTest, ACancelledRequestIsCompleteWhenItsLastPieceHasLanded) {
    const Ticket ticket = push(10, 5, Priority::prefetch);
    EXPECT_EQ(take_all(), (Order{0, 0}));
    queue_.cancel(ticket);
    EXPECT_EQ(take_all(), Order{});
    queue_.finish(taken_[1], std::nullopt);
    EXPECT_TRUE(poll().empty());
    queue_.finish(taken_[0], std::nullopt);
    const auto completions = poll();
    ASSERT_EQ(completions.size(), 1U);
    EXPECT_EQ(completions[0].outcome, Outcome::cancelled);
}

TEST_F(ReadQueueTest, CancellingWhatHasNothingLeftToDropChangesNothing) {
    const Ticket ticket = push(10, 1);
    take_all();
    queue_.cancel(ticket);
    finish_all();
    const auto completions = poll();
    ASSERT_EQ(completions.size(), 1U);
    EXPECT_EQ(completions[0].outcome, Outcome::done);
    queue_.cancel(ticket);
    EXPECT_TRUE(poll().empty());
}

TEST_F(ReadQueueTest, AFailedPieceDropsTheRestOfItsRequestOnly) {
    push(10, 5, Priority::prefetch);
    push(11, 1, Priority::prefetch);
    EXPECT_EQ(take_all(), (Order{0, 0}));
    queue_.finish(taken_[0], Error(ErrorKind::io, "first"));
    queue_.finish(taken_[1], Error(ErrorKind::io, "second"));
    taken_.clear();
    EXPECT_EQ(take_all(), (Order{1}));
    finish_all();
    const auto completions = poll();
    ASSERT_EQ(completions.size(), 2U);
    EXPECT_EQ(completions[0].outcome, Outcome::failed);
    EXPECT_STREQ(completions[0].error.value().what(), "first");
    EXPECT_EQ(completions[1].outcome, Outcome::done);
    EXPECT_FALSE(completions[1].error);
}

TEST_F(ReadQueueTest, RoomIsTakenUntilACompletionIsFetched) {
    const Copy copy{{0, 0, 1}, &memory_};
    for (int i = 0; i < limits().max_requests; ++i) push(0, 1);
    EXPECT_FALSE(queue_.push({{&copy, 1}}));
    take_all();
    finish_all();
    EXPECT_FALSE(queue_.push({{&copy, 1}}));
    Completion completion;
    EXPECT_EQ(queue_.poll({&completion, 1}), 1U);
    EXPECT_TRUE(queue_.push({{&copy, 1}}));
    EXPECT_FALSE(queue_.push({{&copy, 1}}));
}

TEST_F(ReadQueueTest, OldTicketsNameNothing) {
    const Ticket old = push(10, 1);
    take_all();
    finish_all();
    poll();
    // Goes round once, so that the place of the old request is taken again.
    for (int i = 0; i < limits().max_requests; ++i) push(20, 1, Priority::prefetch);
    queue_.cancel(old);
    queue_.promote(old);
    queue_.cancel(Ticket{});
    queue_.cancel(Ticket{~std::uint64_t{0}});
    EXPECT_TRUE(poll().empty());
    EXPECT_EQ(take_all().size(), 2U);
}

TEST_F(ReadQueueTest, PiecesCoverEachRangeOnceAndCutAtBlocks) {
    const unsigned seed = 11;
    std::mt19937 random(seed);
    for (int round = 0; round < 500; ++round) {
        std::array<Copy, kMaxCopies> copies;
        const std::size_t n = 1 + random() % copies.size();
        for (std::size_t i = 0; i < n; ++i)
            copies[i] = {{static_cast<std::int32_t>(i), test::random_below(random, 100'000),
                          1 + test::random_below(random, 200'000)},
                         &memory_ + i * 7};
        ASSERT_TRUE(queue_.push({{copies.data(), n}}));
        for (std::size_t i = 0; i < n; ++i) {
            std::int64_t at = copies[i].from.offset;
            while (at < copies[i].from.end()) {
                const auto piece = queue_.take();
                ASSERT_TRUE(piece);
                EXPECT_EQ(piece->range.file, copies[i].from.file);
                EXPECT_EQ(piece->range.offset, at);
                EXPECT_EQ(piece->to - copies[i].to, at - copies[i].from.offset);
                EXPECT_LT(piece->range.bytes, limits().piece_bytes + kBlock);
                at = piece->range.end();
                EXPECT_TRUE(at % kBlock == 0 || at == copies[i].from.end());
                taken_.push_back(*piece);
            }
            EXPECT_EQ(at, copies[i].from.end());
        }
        EXPECT_FALSE(queue_.take());
        finish_all();
        EXPECT_EQ(poll().size(), 1U);
    }
}

TEST_F(ReadQueueTest, WaitingEndsWhenNothingIsUnderWayAndWhenTheTimeIsOver) {
    Completion completion;
    EXPECT_EQ(queue_.wait({&completion, 1}, std::chrono::hours(1)), 0U);
    push(10, 1);
    EXPECT_EQ(queue_.wait({&completion, 1}, std::chrono::milliseconds(1)), 0U);
    take_all();
    std::thread other([this] { finish_all(); });
    EXPECT_EQ(queue_.wait({&completion, 1}, std::chrono::microseconds::max()), 1U);
    other.join();
}

TEST_F(ReadQueueTest, StoppingSendsWaitingTakersHome) {
    push(10, 1);
    EXPECT_TRUE(queue_.take_or_wait());
    std::thread taker([this] { EXPECT_FALSE(queue_.take_or_wait()); });
    queue_.stop();
    taker.join();
    EXPECT_FALSE(queue_.take());
}

TEST_F(ReadQueueTest, CountsWhatItDoes) {
    push(10, 2);
    push(11, 1, Priority::prefetch);
    const Ticket ticket = push(12, 1, Priority::prefetch);
    push(13, 1);
    queue_.cancel(ticket);
    take_all();
    EXPECT_EQ(queue_.stats().n_under_way, 3);
    queue_.finish(taken_.back(), std::nullopt);
    taken_.pop_back();
    queue_.finish(taken_.back(), Error(ErrorKind::io, "broken"));
    taken_.pop_back();
    finish_all();
    const ReaderStats stats = queue_.stats();
    EXPECT_EQ(stats.n_done, 2);
    EXPECT_EQ(stats.n_failed, 1);
    EXPECT_EQ(stats.n_cancelled, 1);
    EXPECT_EQ(stats.bytes_demanded, 2 * limits().piece_bytes);
    EXPECT_EQ(stats.bytes_prefetched, limits().piece_bytes);
    EXPECT_EQ(stats.n_under_way, 0);
    EXPECT_EQ(stats.max_under_way, 4);
    EXPECT_EQ(stats.max_in_flight, 4);
    EXPECT_GE(stats.latency_sum_us, stats.latency_max_us);
}

TEST_F(ReadQueueTest, AllocatesNothingPerRequest) {
    std::array<Completion, 4> completions;
    const std::int64_t before = test::allocation_count();
    for (int round = 0; round < 100; ++round) {
        const Copy copy{{0, 100, 50'000}, &memory_};
        const auto ticket = queue_.push({{&copy, 1}, Priority::prefetch});
        while (const auto piece = queue_.take()) queue_.finish(*piece, std::nullopt);
        queue_.cancel(*ticket);
        queue_.poll(completions);
    }
    EXPECT_EQ(test::allocation_count(), before);
}

}  // namespace
}  // namespace greenroom::cache
