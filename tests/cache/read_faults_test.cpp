#include "cache/read_faults.h"

#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <vector>

namespace greenroom::cache {
namespace {

std::vector<std::int64_t> results(std::string_view rules, int n_reads, std::int64_t result = 10'000) {
    ReadFaults faults(rules);
    std::vector<std::int64_t> all;
    for (int i = 0; i < n_reads; ++i) {
        faults.before_read();
        all.push_back(faults.after_read(result, 4096));
    }
    return all;
}

using Results = std::vector<std::int64_t>;

TEST(ReadFaults, HitTheReadsThatTheRulesName) {
    EXPECT_EQ(results("", 2), (Results{10'000, 10'000}));
    EXPECT_EQ(results("eio@2", 4), (Results{10'000, -EIO, 10'000, 10'000}));
    EXPECT_EQ(results("eof@3+", 4), (Results{10'000, 10'000, 0, 0}));
    EXPECT_EQ(results("eio@*2", 4), (Results{10'000, -EIO, 10'000, -EIO}));
    EXPECT_EQ(results("eio@1,eof@2", 3), (Results{-EIO, 0, 10'000}));
}

TEST(ReadFaults, AShortReadLeavesWholeBlocks) {
    EXPECT_EQ(results("short@1", 2), (Results{4096, 10'000}));
    EXPECT_EQ(results("short@1", 1, 100'000), (Results{49'152}));
    EXPECT_EQ(results("short@1", 1, 4096), (Results{4096}));  // nothing to cut
    EXPECT_EQ(results("short@1", 1, -EIO), (Results{-EIO}));
}

TEST(ReadFaults, DelaySleeps) {
    const auto begin = std::chrono::steady_clock::now();
    results("delay_ms=20@2+", 3);
    EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(40));
}

TEST(ReadFaults, RefuseOtherRules) {
    for (const char* rules : {"eio", "eio@", "eio@0", "eio@-1", "eio@x", "eio@*2+", "eoi@3", "delay_ms=@1",
                              "delay_ms=1000000@1", ",eio@1", "eio@1,short", "eio@99999999999999999999"})
        test::expect_error(ErrorKind::bad_input, {"GREENROOM_READ_FAULTS", "expected eio, short"},
                           [&] { ReadFaults faults(rules); });
}

}  // namespace
}  // namespace greenroom::cache
