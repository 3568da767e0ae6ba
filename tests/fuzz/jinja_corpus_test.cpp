// The seeds of jinja_fuzz, without the fuzzer: as they are, cut at every length, with every byte changed.

#include "quant/base/error.h"
#include "tests/fuzz/jinja_fuzz.h"
#include "tests/fuzz/seeds.h"

#include <gtest/gtest.h>

namespace greenroom::text::jinja {
namespace {

TEST(JinjaCorpus, BadSeedsAreRefusedAndOthersRendered) {
    const std::vector<test::Seed> seeds = test::load_seeds("jinja");
    ASSERT_GE(seeds.size(), 10U);
    for (const test::Seed& seed : seeds) {
        SCOPED_TRACE(seed.name);
        const std::string input(seed.bytes.begin(), seed.bytes.end());
        if (seed.name.starts_with("bad_"))
            EXPECT_THROW(render_fuzz_input(input), Error);
        else
            EXPECT_NO_THROW(render_fuzz_input(input));
    }
}

TEST(JinjaCorpus, SeedsCutAnywhereAreRenderedOrRefused) {
    for (const test::Seed& seed : test::load_seeds("jinja")) test::run_cut_anywhere(seed);
}

TEST(JinjaCorpus, SeedsWithAnyByteChangedAreRenderedOrRefused) {
    for (const test::Seed& seed : test::load_seeds("jinja")) test::run_with_any_byte_changed(seed);
}

}  // namespace
}  // namespace greenroom::text::jinja
