// Files that go to the GPU's memory piece by piece, on the emulated device.

#include "runtime/staged_upload.h"

#include "cache/read_faults.h"
#include "gpu/memory.h"
#include "tests/cache/patterned_file.h"
#include "tests/gpu/emulation/control.h"
#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace greenroom::runtime {
namespace {

constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kFileBytes = 70 * kMiB + 1234;

class StagedUpload : public testing::Test {
  protected:
    StagedUpload() {
        for (const unsigned seed : {1U, 2U}) {
            paths_.push_back(folder_.file("part-" + std::to_string(seed)));
            test::write_patterned_file(paths_.back(), seed, kFileBytes);
        }
    }
    ~StagedUpload() override { emulation::reset(); }

    std::vector<char> bytes_of(const cache::ByteRange& range) const {
        std::ifstream in(paths_[static_cast<std::size_t>(range.file)], std::ios::binary);
        in.seekg(range.offset);
        std::vector<char> bytes(static_cast<std::size_t>(range.bytes));
        in.read(bytes.data(), range.bytes);
        return bytes;
    }

    // Uploads these and compares what has arrived.
    void upload(const std::vector<cache::ByteRange>& ranges, const cache::ReaderOptions& options = {}) {
        cache::SsdReader reader(paths_, options);
        gpu::Stream stream;
        std::int64_t total = 0;
        for (const cache::ByteRange& range : ranges) total += range.bytes;
        const gpu::DeviceBuffer memory(budget_, total, "test");
        std::vector<FileUpload> uploads;
        std::int64_t at = 0;
        for (const cache::ByteRange& range : ranges) {
            uploads.push_back({range, memory.data() + at});
            at += range.bytes;
        }
        upload_files(uploads, reader, stream,
                     [&](std::string_view, std::int64_t done, std::int64_t all) { is_done_ = done == all; });
        std::vector<char> arrived(static_cast<std::size_t>(total));
        gpu::copy_to_host(stream, arrived.data(), memory.data(), total);
        stream.synchronize();
        EXPECT_EQ(emulation::pinned_bytes_in_use(), 0);
        at = 0;
        for (const cache::ByteRange& range : ranges) {
            EXPECT_TRUE(std::ranges::equal(bytes_of(range),
                                           std::span(arrived).subspan(static_cast<std::size_t>(at),
                                                                      static_cast<std::size_t>(range.bytes))))
                << range.file << " " << range.offset;
            at += range.bytes;
        }
    }

    test::TempDir folder_;
    std::vector<std::string> paths_;
    gpu::DeviceBudget budget_{256 * kMiB};
    bool is_done_ = false;
};

// Long and short ones, in no order, with small and large gaps, on and off the blocks, from two files.
const std::vector<cache::ByteRange> kRanges = {
    {1, 5 * kMiB + 77, 40 * kMiB + 3},      {0, 32, 17},
    {0, 60 * kMiB, kFileBytes - 60 * kMiB}, {0, 100, 9 * kMiB},
    {0, 9 * kMiB + 5000, 8 * kMiB},         {1, 4096, 4096},
};

TEST_F(StagedUpload, BringsTheBytesOfEachRange) {
    upload(kRanges);
    EXPECT_TRUE(is_done_);
    upload({{0, 4096, 1}});
    upload({});
}

TEST_F(StagedUpload, SlowCopiesAreWaitedFor) {
    emulation::set_copy_delay_us(3000);
    upload(kRanges);
}

TEST_F(StagedUpload, TakesNoMoreRamThanItSays) {
    emulation::set_pinned_limit_bytes(staging_bytes(1 * kMiB, 4096));
    upload({{0, 4096, 1 * kMiB}});
    EXPECT_LT(staging_bytes(1 << 30, 4096), 33 * kMiB);
    EXPECT_LT(staging_bytes(1000, 4096), 20'000);
}

TEST_F(StagedUpload, WithoutPinnedMemoryItIsSlowerAndSaysSo) {
    static std::vector<std::string> lines;
    lines.clear();
    set_log_sink([](LogLevel, std::string_view line) { lines.emplace_back(line); });
    emulation::set_pinned_limit_bytes(4096);
    upload(kRanges);
    set_log_sink(nullptr);
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_NE(lines[0].find("weights on their way to the GPU"), std::string::npos) << lines[0];
}

TEST_F(StagedUpload, AReadThatFailsEndsItWithTheFilesName) {
    cache::ReadFaults faults("eio@9,delay_ms=5@3+");
    cache::ReaderOptions options;
    options.faults = &faults;
    test::expect_error(ErrorKind::io, {"part-"}, [&] { upload(kRanges, options); });
    EXPECT_EQ(emulation::pinned_bytes_in_use(), 0);
    EXPECT_EQ(emulation::device_bytes_in_use(), 0);
}

}  // namespace
}  // namespace greenroom::runtime
