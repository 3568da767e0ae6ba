#include "cache/bulk_read.h"

#include "cache/ssd_reader.h"
#include "tests/cache/patterned_file.h"
#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <string>
#include <vector>

namespace greenroom::cache {
namespace {

using test::AlignedMemory;
using test::first_difference;

constexpr std::int64_t kFileBytes = (8 << 20) + 321;
constexpr unsigned kSeed = 4;

class ReadAll : public testing::Test {
  protected:
    ReadAll() { test::write_patterned_file(paths_[0], kSeed, kFileBytes); }

    test::TempDir folder_;
    std::vector<std::string> paths_ = {folder_.file("model.gguf")};
    AlignedMemory memory_{kFileBytes + 3 * 4096};
};

TEST_F(ReadAll, CopiesEverythingAndReportsEachStep) {
    SsdReader reader(paths_);
    const std::array<Copy, 3> copies = {
        {{{0, 100, 5'000'000}, memory_.data() + 100},
         {{0, 6'000'000, 1}, memory_.data() + 6'000'000 / 4096 * 4096 + 6'000'000 % 4096},
         {{0, 7 << 20, (1 << 20) + 321}, memory_.data() + (7 << 20)}}};
    std::vector<std::int64_t> steps;
    const auto progress = [&](std::string_view what, std::int64_t done, std::int64_t total) {
        EXPECT_EQ(what, "weights");
        EXPECT_EQ(total, 5'000'000 + 1 + (1 << 20) + 321);
        steps.push_back(done);
    };
    BulkOptions options;
    options.chunk_bytes = 1 << 20;
    options.max_requests = 3;
    EXPECT_EQ(read_all(reader, copies, "weights", progress, nullptr, options), BulkOutcome::done);
    for (const Copy& copy : copies) EXPECT_EQ(first_difference(kSeed, copy), std::nullopt);
    ASSERT_GE(steps.size(), 3U);
    EXPECT_EQ(steps.front(), 0);
    EXPECT_EQ(steps.back(), 5'000'000 + 1 + (1 << 20) + 321);
    EXPECT_TRUE(std::is_sorted(steps.begin(), steps.end()));
    EXPECT_LE(reader.stats().max_under_way, 3);
    EXPECT_EQ(read_all(reader, {}, "nothing", {}, nullptr), BulkOutcome::done);
}

TEST_F(ReadAll, StopsWhenAskedTo) {
    SsdReader reader(paths_);
    std::atomic<bool> stop{false};
    const Copy copy{{0, 0, kFileBytes}, memory_.data()};
    BulkOptions options;
    options.chunk_bytes = 64 << 10;
    options.max_requests = 1;
    const auto progress = [&](std::string_view, std::int64_t done, std::int64_t) { stop = done > 200'000; };
    EXPECT_EQ(read_all(reader, {&copy, 1}, "weights", progress, &stop, options), BulkOutcome::stopped);
    EXPECT_LT(reader.stats().bytes_demanded, 400'000);
    EXPECT_EQ(reader.stats().n_under_way, 0);
}

TEST_F(ReadAll, ThrowsTheFirstFailureWhenNothingIsWrittenAnyMore) {
    ReadFaults faults("eio@7");
    ReaderOptions with_faults;
    with_faults.faults = &faults;
    SsdReader reader(paths_, with_faults);
    const Copy copy{{0, 0, kFileBytes}, memory_.data()};
    BulkOptions options;
    options.chunk_bytes = 256 << 10;
    test::expect_error(ErrorKind::io, {"model.gguf", "Input/output error"}, [&] {
        read_all(reader, {&copy, 1}, "weights", {}, nullptr, options);
    });
    EXPECT_EQ(reader.stats().n_under_way, 0);
    EXPECT_EQ(reader.stats().n_failed, 1);

    const Copy beyond{{0, 1, kFileBytes}, memory_.data()};
    test::expect_error(ErrorKind::bad_input, {"expected a range within"}, [&] {
        read_all(reader, {&beyond, 1}, "weights", {}, nullptr, options);
    });
    EXPECT_EQ(reader.stats().n_under_way, 0);
}

}  // namespace
}  // namespace greenroom::cache
