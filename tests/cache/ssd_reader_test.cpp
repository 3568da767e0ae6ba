// SsdReader through each backend, direct and buffered, on real files.

#include "cache/ssd_reader.h"

#include "cache/slot_layout.h"
#include "tests/cache/patterned_file.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace greenroom::cache {
namespace {

using test::AlignedMemory;
using test::first_difference;
using test::wait_for;

constexpr std::int64_t kFileBytes = (12 << 20) + 1234;  // the last block is not a whole one
constexpr std::array<unsigned, 2> kSeeds = {1, 2};

class SsdReaderTest : public testing::TestWithParam<test::ReadWay> {
  protected:
    static void SetUpTestSuite() {
        folder_ = std::make_unique<test::TempDir>();
        for (const unsigned seed : kSeeds) {
            paths_.push_back(folder_->file(fmt::format("part-{}.gguf", seed)));
            test::write_patterned_file(paths_.back(), seed, kFileBytes);
        }
    }
    static void TearDownTestSuite() {
        paths_.clear();
        folder_.reset();
    }
    void SetUp() override {
        if (const auto reason = test::cannot_read(paths_[0], GetParam())) GTEST_SKIP() << *reason;
    }

    std::unique_ptr<SsdReader> make_reader(void (*change)(ReaderOptions&) = nullptr) const {
        ReaderOptions options = GetParam().options();
        if (change != nullptr) change(options);
        return std::make_unique<SsdReader>(paths_, options);
    }
    // Where a range can be read to directly.
    static Copy congruent(const ByteRange& range, const AlignedMemory& memory) {
        return {range, memory.data() + range.offset % 4096};
    }

    static inline std::unique_ptr<test::TempDir> folder_;
    static inline std::vector<std::string> paths_;
};

TEST_P(SsdReaderTest, BringsTheBytesOfTheRange) {
    const auto reader = make_reader();
    const AlignedMemory memory(kFileBytes + 8192);
    const std::int64_t end = kFileBytes;
    for (const ByteRange& range : std::initializer_list<ByteRange>{
             {0, 0, 1},
             {0, 0, 4096},
             {0, 1, 4095},
             {1, 4095, 2},
             {0, 12345, 54321},
             {1, 4096, 8 << 20},
             {0, (1 << 20) - 1, (3 << 20) + 2},
             {0, end - 1, 1},
             {1, end - 1234, 1234},
             {0, end - 5000, 5000},
             {1, end - (5 << 20) - 7, (5 << 20) + 7},
             {0, 0, end},
         }) {
        const Copy copy = congruent(range, memory);
        std::fill_n(memory.data(), memory.bytes(), std::byte{0});
        ASSERT_TRUE(reader->start({{&copy, 1}, Priority::demanded, 77}));
        const auto completions = wait_for(*reader, 1);
        ASSERT_EQ(completions.size(), 1U);
        ASSERT_EQ(completions[0].outcome, Outcome::done) << completions[0].error->what();
        EXPECT_EQ(completions[0].tag, 77U);
        EXPECT_EQ(first_difference(kSeeds[static_cast<std::size_t>(range.file)], copy), std::nullopt)
            << range.offset << " + " << range.bytes;
    }
}

TEST_P(SsdReaderTest, FillsAnyAddressExactly) {
    const auto reader = make_reader();
    const std::int64_t bytes = (2 << 20) + 5;
    const AlignedMemory memory(bytes + 8192);
    for (const std::int64_t shift : {1, 511, 2048}) {
        std::fill_n(memory.data(), memory.bytes(), std::byte{0xee});
        const Copy copy{{0, 4096, bytes}, memory.data() + shift};
        ASSERT_TRUE(reader->start({{&copy, 1}}));
        EXPECT_EQ(wait_for(*reader, 1).at(0).outcome, Outcome::done);
        EXPECT_EQ(first_difference(kSeeds[0], copy), std::nullopt);
        EXPECT_EQ(copy.to[-1], std::byte{0xee});
        EXPECT_EQ(copy.to[bytes], std::byte{0xee});
    }
}

TEST_P(SsdReaderTest, WritesNothingOutsideTheBlocksOfTheDestination) {
    const auto reader = make_reader();
    const AlignedMemory memory(1 << 20);
    std::fill_n(memory.data(), memory.bytes(), std::byte{0xee});
    const Copy copy{{0, 100'000, 200'000}, memory.data() + 65536 + 100'000 % 4096};
    ASSERT_TRUE(reader->start({{&copy, 1}}));
    EXPECT_EQ(wait_for(*reader, 1).at(0).outcome, Outcome::done);
    const std::size_t first_block = 65536;
    const std::size_t after_last = (65536 + 100'000 % 4096 + 200'000 + 4095) / 4096 * 4096;
    EXPECT_TRUE(test::holds_only(memory.all().first(first_block), std::byte{0xee}));
    EXPECT_TRUE(test::holds_only(memory.all().subspan(after_last), std::byte{0xee}));
}

// Experts of three matrices in two files, in random order, with as many in flight as there is room for.
TEST_P(SsdReaderTest, ThousandsOfExpertsInRandomOrder) {
    const unsigned seed = 3;
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto reader = make_reader([](ReaderOptions& options) {
        options.max_requests = 64;
        options.piece_bytes = 16 << 10;
    });
    constexpr std::int64_t kMatrixBytes = 9'000;
    constexpr int kRequests = 4000;
    const std::int64_t slot_bytes = 3 * 5 * 4096;
    const AlignedMemory arena(64 * slot_bytes);

    std::vector<std::size_t> free_slots(64);
    for (std::size_t i = 0; i < free_slots.size(); ++i) free_slots[i] = i;
    std::array<std::array<Copy, kMaxCopies>, 64> in_slot;
    int n_started = 0;
    int n_done = 0;
    std::array<Completion, 16> completions;
    while (n_done < kRequests) {
        while (n_started < kRequests && !free_slots.empty()) {
            std::array<ByteRange, 3> matrices;
            for (ByteRange& m : matrices)
                m = {static_cast<std::int32_t>(random() % 2),
                     test::random_below(random, kFileBytes - kMatrixBytes), kMatrixBytes};
            const SlotLayout layout(matrices, reader->alignment());
            ASSERT_LE(layout.slot_bytes(), slot_bytes);
            const std::size_t slot = free_slots.back();
            in_slot[slot] = layout.copies_to(arena.data() + static_cast<std::int64_t>(slot) * slot_bytes);
            const auto priority = random() % 2 == 0 ? Priority::demanded : Priority::prefetch;
            if (!reader->start({std::span(in_slot[slot]).first(3), priority, slot})) break;
            free_slots.pop_back();
            ++n_started;
        }
        const std::size_t n = reader->wait(completions, std::chrono::seconds(60));
        ASSERT_GT(n, 0U);
        for (const Completion& completion : std::span(completions).first(n)) {
            ASSERT_EQ(completion.outcome, Outcome::done);
            for (const Copy& copy : std::span(in_slot[completion.tag]).first(3))
                ASSERT_EQ(first_difference(kSeeds[static_cast<std::size_t>(copy.from.file)], copy),
                          std::nullopt);
            free_slots.push_back(completion.tag);
            ++n_done;
        }
    }
    const ReaderStats stats = reader->stats();
    EXPECT_EQ(stats.n_done, kRequests);
    EXPECT_EQ(stats.bytes_demanded + stats.bytes_prefetched, std::int64_t{kRequests} * 3 * kMatrixBytes);
}

TEST_P(SsdReaderTest, SeveralThreadsMayAsk) {
    const auto reader = make_reader();
    constexpr int kThreads = 4;
    constexpr int kPerThread = 100;
    std::atomic<int> n_done{0};
    std::atomic<bool> wrong{false};
    std::vector<std::unique_ptr<AlignedMemory>> memories;
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) memories.push_back(std::make_unique<AlignedMemory>(kPerThread * 8192));
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            const AlignedMemory& memory = *memories[static_cast<std::size_t>(t)];
            for (int i = 0; i < kPerThread; ++i) {
                const Copy copy{{0, (t * kPerThread + i) * 4096 + 17, 4000}, memory.data() + i * 8192 + 17};
                const auto ticket =
                    reader->start({{&copy, 1}, i % 2 == 0 ? Priority::demanded : Priority::prefetch});
                if (!ticket) wrong = true;
                if (ticket && i % 3 == 0) reader->promote(*ticket);
            }
            std::array<Completion, 4> completions;
            while (const std::size_t n = reader->wait(completions, std::chrono::seconds(60))) {
                for (const Completion& completion : std::span(completions).first(n))
                    if (completion.outcome != Outcome::done) wrong = true;
                n_done += static_cast<int>(n);
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_FALSE(wrong);
    EXPECT_EQ(n_done, kThreads * kPerThread);
    for (int t = 0; t < kThreads; ++t)
        for (int i = 0; i < kPerThread; ++i)
            ASSERT_EQ(
                first_difference(kSeeds[0], {{0, (t * kPerThread + i) * 4096 + 17, 4000},
                                             memories[static_cast<std::size_t>(t)]->data() + i * 8192 + 17}),
                std::nullopt);
}

TEST_P(SsdReaderTest, DestructionWithRequestsInFlightLeavesTheMemoryAlone) {
    const AlignedMemory memory(kFileBytes + 4096);
    for (int round = 0; round < 20; ++round) {
        auto reader = make_reader();
        for (int i = 0; i < 12; ++i) {
            const Copy copy{{0, i << 20, 1 << 20}, memory.data() + (i << 20)};
            ASSERT_TRUE(reader->start({{&copy, 1}, i % 2 == 0 ? Priority::demanded : Priority::prefetch}));
        }
        if (round % 2 == 1) std::this_thread::sleep_for(std::chrono::milliseconds(round / 4));
        reader.reset();
        std::fill_n(memory.data(), memory.bytes(), std::byte{0xee});
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        ASSERT_TRUE(test::holds_only(memory.all(), std::byte{0xee}));
    }
}

TEST_P(SsdReaderTest, ACancelledPrefetchWritesNothingOnceItIsComplete) {
    const auto reader = make_reader();
    const AlignedMemory memory(kFileBytes + 4096);
    bool some_cancelled = false;
    for (int round = 0; round < 30; ++round) {
        const Copy copy = congruent({0, 0, kFileBytes}, memory);
        const auto ticket = reader->start({{&copy, 1}, Priority::prefetch});
        ASSERT_TRUE(ticket);
        if (round % 3 == 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        reader->cancel(*ticket);
        const auto completions = wait_for(*reader, 1);
        ASSERT_EQ(completions.size(), 1U);
        some_cancelled = some_cancelled || completions[0].outcome == Outcome::cancelled;
        std::fill_n(memory.data(), memory.bytes(), std::byte{0xee});
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        ASSERT_TRUE(test::holds_only(memory.all(), std::byte{0xee}));
    }
    EXPECT_TRUE(some_cancelled);
}

TEST_P(SsdReaderTest, ADemandedReadOvertakesPrefetches) {
    // Slow, or a prefetch from the page cache could be through before the demand is made.
    static ReadFaults slow("delay_ms=1@1+");
    const auto reader = make_reader([](ReaderOptions& options) {
        options.piece_bytes = 64 << 10;
        options.faults = &slow;
    });
    const AlignedMemory memory(3 * (kFileBytes + 8192));
    const Copy prefetch = congruent({0, 0, kFileBytes}, memory);
    const Copy another{{1, 0, kFileBytes}, memory.data() + (kFileBytes / 4096 + 1) * 4096};
    const Copy demanded{{0, 0, 65536}, memory.data() + 2 * (kFileBytes / 4096 + 1) * 4096};
    ASSERT_TRUE(reader->start({{&prefetch, 1}, Priority::prefetch, 1}));
    ASSERT_TRUE(reader->start({{&another, 1}, Priority::prefetch, 2}));
    ASSERT_TRUE(reader->start({{&demanded, 1}, Priority::demanded, 3}));
    const auto completions = wait_for(*reader, 3);
    ASSERT_EQ(completions.size(), 3U);
    EXPECT_EQ(completions[0].tag, 3U);
}

TEST_P(SsdReaderTest, ReadsIntoRegisteredMemoryOrSaysWhyItIsNot) {
    const AlignedMemory memory(4 << 20);
    const AlignedMemory elsewhere(4 << 20);
    const std::span<std::byte> region(memory.data(), 4 << 20);
    ReaderOptions options = GetParam().options();
    options.fixed_memory = {&region, 1};
    SsdReader reader(paths_, options);
    if (GetParam().backend == ReadBackend::uring) {
        EXPECT_NE(reader.describe().find("registered"), std::string::npos);
    }
    // Inside the region, across its end, outside.
    const std::array<Copy, 2> copies = {
        {{{0, 4096, 3 << 20}, memory.data() + 4096}, {{1, 0, 4 << 20}, elsewhere.data()}}};
    ASSERT_TRUE(reader.start({copies}));
    EXPECT_EQ(wait_for(reader, 1).at(0).outcome, Outcome::done);
    for (const Copy& copy : copies)
        EXPECT_EQ(first_difference(kSeeds[static_cast<std::size_t>(copy.from.file)], copy), std::nullopt);
}

TEST_P(SsdReaderTest, AllocatesNothingPerRequest) {
    const auto reader = make_reader();
    const AlignedMemory memory(1 << 20);
    std::array<Completion, 4> completions;
    const auto round = [&] {
        const Copy copy{{0, 4096 * 3, 500'000}, memory.data()};
        reader->start({{&copy, 1}, Priority::prefetch});
        while (reader->wait(completions, std::chrono::seconds(60)) > 0) {
        }
    };
    round();
    const std::int64_t before = test::allocation_count();
    for (int i = 0; i < 50; ++i) round();
    EXPECT_EQ(test::allocation_count(), before);
}

void ignore_signal(int /*signal*/) {}

TEST_P(SsdReaderTest, SignalsDoNotDisturbIt) {
    struct sigaction action {};
    struct sigaction before {};
    action.sa_handler = ignore_signal;  // no SA_RESTART: calls of this thread end with EINTR
    sigaction(SIGUSR1, &action, &before);
    const auto reader = make_reader();
    const AlignedMemory memory(kFileBytes + 4096);
    const Copy copy = congruent({0, 0, kFileBytes}, memory);
    std::atomic<bool> over{false};
    std::thread other([&] {
        while (!over) {
            ::kill(::getpid(), SIGUSR1);
            std::this_thread::sleep_for(std::chrono::microseconds(100));
        }
    });
    for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(reader->start({{&copy, 1}}));
        EXPECT_EQ(wait_for(*reader, 1).at(0).outcome, Outcome::done);
    }
    over = true;
    other.join();
    sigaction(SIGUSR1, &before, nullptr);
    EXPECT_EQ(first_difference(kSeeds[0], copy), std::nullopt);
}

TEST_P(SsdReaderTest, RefusesRangesThatDoNotExist) {
    const auto reader = make_reader();
    std::byte memory{};
    constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
    for (const ByteRange& range : std::initializer_list<ByteRange>{{0, kFileBytes, 1},
                                                                   {0, kFileBytes - 1, 2},
                                                                   {0, -1, 1},
                                                                   {0, 0, 0},
                                                                   {0, 0, -1},
                                                                   {0, kMax, kMax},
                                                                   {0, 0, kMax}}) {
        const Copy copy{range, &memory};
        test::expect_error(ErrorKind::bad_input, {"part-1.gguf", "expected a range within"}, [&] {
            reader->start({{&copy, 1}});
        });
    }
    for (const std::int32_t file : {-1, 2}) {
        const Copy copy{{file, 0, 1}, &memory};
        test::expect_error(ErrorKind::bad_input, {"expected 0 to 1"}, [&] { reader->start({{&copy, 1}}); });
    }
    EXPECT_EQ(reader->stats().max_under_way, 0);
}

TEST_P(SsdReaderTest, SaysHowItReads) {
    const std::string line = make_reader()->describe();
    EXPECT_NE(line.find(GetParam().backend == ReadBackend::uring ? "io_uring" : "pread in"),
              std::string::npos)
        << line;
    EXPECT_NE(line.find(GetParam().access == ReadAccess::direct ? "O_DIRECT in blocks" : "page cache"),
              std::string::npos)
        << line;
}

INSTANTIATE_TEST_SUITE_P(Ways, SsdReaderTest, testing::ValuesIn(test::all_read_ways()),
                         [](const auto& way) { return test::name_of(way.param); });

TEST(SsdReaderFiles, MustBeRegularAndThere) {
    const test::TempDir folder;
    const std::vector<std::string> missing = {folder.file("missing.gguf")};
    test::expect_error(ErrorKind::io, {"missing.gguf: cannot open"}, [&] { SsdReader reader(missing); });
    const std::vector<std::string> directory = {folder.path().string()};
    test::expect_error(ErrorKind::bad_input, {"not a regular file"}, [&] { SsdReader reader(directory); });
}

TEST(SsdReaderFiles, AFileSystemWithoutDirectReadsIsReadThroughThePageCache) {
    const std::filesystem::path shm = "/dev/shm";
    if (!std::filesystem::is_directory(shm)) GTEST_SKIP() << "no /dev/shm";
    const std::vector<std::string> paths = {
        (shm / fmt::format("greenroom-test-{}.gguf", ::getpid())).string()};
    test::write_patterned_file(paths[0], 5, 100'000);
    SsdReader reader(paths);
    const AlignedMemory memory(1 << 20);
    const Copy copy{{0, 5000, 90'000}, memory.data() + 5000 % 4096};
    EXPECT_TRUE(reader.start({{&copy, 1}}));
    EXPECT_EQ(wait_for(reader, 1).at(0).outcome, Outcome::done);
    EXPECT_EQ(first_difference(5, copy), std::nullopt);
    std::filesystem::remove(paths[0]);
}

}  // namespace
}  // namespace greenroom::cache
