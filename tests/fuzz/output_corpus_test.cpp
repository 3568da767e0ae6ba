// The seeds of output_fuzz, without the fuzzer: as they are, cut at every length, with every byte changed.

#include "tests/fuzz/seeds.h"

#include <gtest/gtest.h>

namespace greenroom::text {
namespace {

TEST(OutputCorpus, SeedsCutAnywhereAreRead) {
    const std::vector<test::Seed> seeds = test::load_seeds("output");
    ASSERT_GE(seeds.size(), 10U);
    for (const test::Seed& seed : seeds) test::run_cut_anywhere(seed);
}

TEST(OutputCorpus, SeedsWithAnyByteChangedAreRead) {
    for (const test::Seed& seed : test::load_seeds("output")) test::run_with_any_byte_changed(seed);
}

}  // namespace
}  // namespace greenroom::text
