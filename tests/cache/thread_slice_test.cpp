#include "cache/thread_slice.h"

#include <gtest/gtest.h>

#include <thread>

namespace greenroom::cache {
namespace {

TEST(ThreadSlice, IsShortenedForTheCallingThreadAlone) {
    const std::int64_t ours = thread_slice_ns();
    if (ours == 0) GTEST_SKIP() << "this system does not tell threads' slices (before Linux 6.12)";
    std::int64_t before = 0;
    std::int64_t after = 0;
    std::thread([&] {
        before = thread_slice_ns();
        prefer_short_slices();
        after = thread_slice_ns();
    }).join();
    EXPECT_EQ(before, ours);
    EXPECT_LT(after, before);
    EXPECT_EQ(thread_slice_ns(), ours);
}

}  // namespace
}  // namespace greenroom::cache
