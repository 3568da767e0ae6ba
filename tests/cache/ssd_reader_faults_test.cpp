// SsdReader when the disk or the file goes wrong.

#include "cache/ssd_reader.h"
#include "tests/cache/patterned_file.h"
#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace greenroom::cache {
namespace {

using test::AlignedMemory;
using test::first_difference;
using test::wait_for;

constexpr std::int64_t kFileBytes = 4 << 20;
constexpr unsigned kSeed = 9;

class SsdReaderFaultsTest : public testing::TestWithParam<test::ReadWay> {
  protected:
    void SetUp() override {
        test::write_patterned_file(paths_[0], kSeed, kFileBytes);
        if (const auto reason = test::cannot_read(paths_[0], GetParam())) GTEST_SKIP() << *reason;
    }
    ReaderOptions options() const {
        ReaderOptions result = GetParam().options();
        result.piece_bytes = 256 << 10;
        return result;
    }
    Copy whole_file() const { return {{0, 0, kFileBytes}, memory_.data()}; }
    static void expect_failure(const Completion& completion, std::initializer_list<std::string_view> texts) {
        ASSERT_EQ(completion.outcome, Outcome::failed);
        ASSERT_TRUE(completion.error);
        test::expect_error(ErrorKind::io, texts, [&] { throw Error(*completion.error); });
    }

    test::TempDir folder_;
    std::vector<std::string> paths_ = {folder_.file("model.gguf")};
    AlignedMemory memory_{kFileBytes};
};

TEST_P(SsdReaderFaultsTest, AnErrorOfTheDiskFailsOneRequest) {
    ReadFaults faults("eio@5");
    ReaderOptions with_faults = options();
    with_faults.faults = &faults;
    SsdReader reader(paths_, with_faults);
    std::vector<Copy> copies;
    for (std::int64_t i = 0; i < 16; ++i) {
        copies.push_back({{0, i << 18, 1 << 18}, memory_.data() + (i << 18)});
        ASSERT_TRUE(reader.start({{&copies.back(), 1}, Priority::demanded, static_cast<std::uint64_t>(i)}));
    }
    int n_failed = 0;
    for (const Completion& completion : wait_for(reader, 16)) {
        if (completion.outcome == Outcome::failed) {
            ++n_failed;
            expect_failure(completion, {"model.gguf: cannot read 262144 bytes at offset ",
                                        "Input/output error", "Check the disk"});
        } else {
            EXPECT_EQ(first_difference(kSeed, copies[completion.tag]), std::nullopt);
        }
    }
    EXPECT_EQ(n_failed, 1);
    EXPECT_EQ(reader.stats().n_failed, 1);

    const Copy again = whole_file();
    ASSERT_TRUE(reader.start({{&again, 1}}));
    EXPECT_EQ(wait_for(reader, 1).at(0).outcome, Outcome::done);
}

TEST_P(SsdReaderFaultsTest, ShortReadsAreContinued) {
    ReadFaults faults("short@*3");
    ReaderOptions with_faults = options();
    with_faults.faults = &faults;
    SsdReader reader(paths_, with_faults);
    const Copy copy{{0, 100, kFileBytes - 5000}, memory_.data() + 100};
    ASSERT_TRUE(reader.start({{&copy, 1}}));
    EXPECT_EQ(wait_for(reader, 1).at(0).outcome, Outcome::done);
    EXPECT_EQ(first_difference(kSeed, copy), std::nullopt);
}

TEST_P(SsdReaderFaultsTest, AnUnexpectedEndFailsTheRequest) {
    ReadFaults faults("eof@3");
    ReaderOptions with_faults = options();
    with_faults.faults = &faults;
    SsdReader reader(paths_, with_faults);
    const Copy copy = whole_file();
    ASSERT_TRUE(reader.start({{&copy, 1}}));
    expect_failure(wait_for(reader, 1).at(0), {"got 0 of 262144 bytes at offset ", "restore it"});
}

TEST_P(SsdReaderFaultsTest, TruncationWhileRunningFailsWhatIsGoneAndNamesIt) {
    SsdReader reader(paths_, options());
    const Copy copy = whole_file();
    ASSERT_TRUE(reader.start({{&copy, 1}}));
    EXPECT_EQ(wait_for(reader, 1).at(0).outcome, Outcome::done);

    std::filesystem::resize_file(paths_[0], 1'000'000);
    ASSERT_TRUE(reader.start({{&copy, 1}}));
    expect_failure(wait_for(reader, 1).at(0),
                   {"model.gguf: ", "1000000 bytes", "4194304 when it was opened"});
    const Copy beyond{{0, 2 << 20, 4096}, memory_.data()};
    ASSERT_TRUE(reader.start({{&beyond, 1}}));
    expect_failure(wait_for(reader, 1).at(0), {"model.gguf: got 0 of 4096 bytes at offset 2097152",
                                               "has 1000000 bytes and had 4194304"});
}

TEST_P(SsdReaderFaultsTest, AFileThatIsWrittenToIsNotReadOn) {
    SsdReader reader(paths_, options());
    std::this_thread::sleep_for(
        std::chrono::milliseconds(20));  // the kernel's clock for modification times is coarse
    {
        std::fstream file(paths_[0], std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(1000);
        file.put('x');
    }
    const Copy copy{{0, 2 << 20, 4096}, memory_.data()};
    ASSERT_TRUE(reader.start({{&copy, 1}}));
    expect_failure(wait_for(reader, 1).at(0), {"model.gguf: was written to while in use", "start again"});
}

TEST_P(SsdReaderFaultsTest, AFileThatIsReplacedIsReadAsItWas) {
    SsdReader reader(paths_, options());
    test::write_patterned_file(folder_.file("new.gguf"), kSeed + 1, 1000);
    std::filesystem::rename(folder_.file("new.gguf"), paths_[0]);
    const Copy copy = whole_file();
    ASSERT_TRUE(reader.start({{&copy, 1}}));
    EXPECT_EQ(wait_for(reader, 1).at(0).outcome, Outcome::done);
    EXPECT_EQ(first_difference(kSeed, copy), std::nullopt);
}

// Every fifth read fails, half of the requests are cancelled: each still ends in exactly one completion.
TEST_P(SsdReaderFaultsTest, EachRequestEndsOnceWhateverHappens) {
    ReadFaults faults("eio@*5,short@*3,delay_ms=1@*7");
    ReaderOptions with_faults = options();
    with_faults.piece_bytes = 8 << 10;
    with_faults.faults = &faults;
    SsdReader reader(paths_, with_faults);
    std::multiset<std::uint64_t> tags;
    for (std::uint64_t i = 0; i < 100; ++i) {
        const auto place = static_cast<std::int64_t>(i) * 40'960;
        const Copy copy{{0, place, 40'960}, memory_.data() + place};
        const auto ticket =
            reader.start({{&copy, 1}, i % 3 == 0 ? Priority::prefetch : Priority::demanded, i});
        ASSERT_TRUE(ticket);
        if (i % 2 == 0) reader.cancel(*ticket);
        if (i % 5 == 0) reader.promote(*ticket);
    }
    for (const Completion& completion : wait_for(reader, 1000)) {
        tags.insert(completion.tag);
        EXPECT_EQ(completion.error.has_value(), completion.outcome == Outcome::failed);
    }
    EXPECT_EQ(tags.size(), 100U);
    EXPECT_EQ(std::set<std::uint64_t>(tags.begin(), tags.end()).size(), 100U);
    const ReaderStats stats = reader.stats();
    EXPECT_EQ(stats.n_done + stats.n_failed + stats.n_cancelled, 100);
}

TEST_P(SsdReaderFaultsTest, DestructionWaitsForASlowDiskAndNoLonger) {
    ReadFaults faults("delay_ms=30@1+");
    ReaderOptions with_faults = options();
    with_faults.faults = &faults;
    with_faults.depth = 2;
    with_faults.prefetch_depth = 1;
    const auto begin = std::chrono::steady_clock::now();
    {
        SsdReader reader(paths_, with_faults);
        for (std::int64_t i = 0; i < 800; ++i) {
            const Copy copy{{0, i * 4096, 4096}, memory_.data() + i * 4096};
            ASSERT_TRUE(reader.start({{&copy, 1}}));
        }
    }
    // 800 reads of 30 ms each would take 12 s and more.
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST_P(SsdReaderFaultsTest, TheEnvironmentCanAskForFaults) {
    ::setenv("GREENROOM_READ_FAULTS", "eio@1", 1);
    SsdReader reader(paths_, options());
    ::unsetenv("GREENROOM_READ_FAULTS");
    const Copy copy = whole_file();
    ASSERT_TRUE(reader.start({{&copy, 1}}));
    expect_failure(wait_for(reader, 1).at(0), {"Input/output error"});

    ::setenv("GREENROOM_READ_FAULTS", "nonsense", 1);
    test::expect_error(ErrorKind::bad_input, {"GREENROOM_READ_FAULTS", "nonsense"},
                       [&] { SsdReader another(paths_, options()); });
    ::unsetenv("GREENROOM_READ_FAULTS");
}

INSTANTIATE_TEST_SUITE_P(Ways, SsdReaderFaultsTest, testing::ValuesIn(test::all_read_ways()),
                         [](const auto& way) { return test::name_of(way.param); });

}  // namespace
}  // namespace greenroom::cache
