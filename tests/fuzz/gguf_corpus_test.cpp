// The seeds of gguf_fuzz, without the fuzzer: as they are, cut at every length, with every byte changed.

#include "quant/base/error.h"
#include "quant/gguf.h"
#include "tests/fuzz/seeds.h"

#include <gtest/gtest.h>

namespace greenroom::quant {
namespace {

TEST(GgufCorpus, BadSeedsAreRefusedAndOthersRead) {
    const std::vector<test::Seed> seeds = test::load_seeds("gguf");
    ASSERT_GE(seeds.size(), 10U);
    for (const test::Seed& seed : seeds) {
        SCOPED_TRACE(seed.name);
        const auto* data = reinterpret_cast<const std::byte*>(seed.bytes.data());
        if (seed.name.starts_with("bad_"))
            EXPECT_THROW(Gguf::parse(data, seed.bytes.size(), seed.name), Error);
        else
            EXPECT_NO_THROW(Gguf::parse(data, seed.bytes.size(), seed.name));
    }
}

TEST(GgufCorpus, SeedsCutAnywhereAreReadOrRefused) {
    for (const test::Seed& seed : test::load_seeds("gguf")) test::run_cut_anywhere(seed);
}

TEST(GgufCorpus, SeedsWithAnyByteChangedAreReadOrRefused) {
    for (const test::Seed& seed : test::load_seeds("gguf")) test::run_with_any_byte_changed(seed);
}

}  // namespace
}  // namespace greenroom::quant
