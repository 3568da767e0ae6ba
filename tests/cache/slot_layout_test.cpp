#include "cache/slot_layout.h"

#include "tests/cache/patterned_file.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <vector>

namespace greenroom::cache {
namespace {

TEST(SlotLayout, KeepsThePlaceWithinABlock) {
    const std::array<ByteRange, 3> ranges = {
        {{0, 4096 * 10 + 100, 5000}, {0, 4096 * 700, 4096}, {1, 4095, 1}}};
    const SlotLayout layout(ranges, 4096);
    ASSERT_EQ(layout.parts().size(), 3U);
    EXPECT_EQ(layout.parts()[0].slot_offset, 100);
    EXPECT_EQ(layout.parts()[1].slot_offset, 8192);
    EXPECT_EQ(layout.parts()[2].slot_offset, 8192 + 4096 + 4095);
    EXPECT_EQ(layout.slot_bytes(), 8192 + 4096 + 4096);

    std::vector<std::byte> slot(static_cast<std::size_t>(layout.slot_bytes()));
    const auto copies = layout.copies_to(slot.data());
    EXPECT_EQ(copies[0].to, slot.data() + 100);
    EXPECT_EQ(copies[2].from, ranges[2]);
    EXPECT_EQ(copies[2].to - copies[0].to, 8192 + 4096 + 4095 - 100);
}

TEST(SlotLayout, BlocksOfPartsNeverOverlapAndStayInTheSlot) {
    const unsigned seed = 7;
    std::mt19937 random(seed);
    for (const std::int64_t alignment : {512, 4096, 65536}) {
        for (int round = 0; round < 200; ++round) {
            std::vector<ByteRange> ranges(1 + random() % kMaxCopies);
            for (ByteRange& range : ranges)
                range = {0, test::random_below(random, 1'000'000), 1 + test::random_below(random, 300'000)};
            const SlotLayout layout(ranges, alignment);
            EXPECT_EQ(layout.slot_bytes() % alignment, 0);
            std::int64_t free_from = 0;
            for (const SlotPart& part : layout.parts()) {
                EXPECT_EQ(part.slot_offset % alignment, part.range.offset % alignment);
                const std::int64_t first_block = part.slot_offset / alignment * alignment;
                EXPECT_GE(first_block, free_from);
                free_from = (part.slot_offset + part.range.bytes + alignment - 1) / alignment * alignment;
            }
            EXPECT_LE(free_from, layout.slot_bytes());
        }
    }
}

TEST(SlotLayout, RefusesWhatIsNoExpert) {
    const std::array<ByteRange, 5> five = {{{0, 0, 1}, {0, 0, 1}, {0, 0, 1}, {0, 0, 1}, {0, 0, 1}}};
    test::expect_error(ErrorKind::internal, {}, [&] { SlotLayout(five, 4096); });
    test::expect_error(ErrorKind::internal, {}, [&] { SlotLayout({}, 4096); });
    test::expect_error(ErrorKind::internal, {}, [&] { SlotLayout(std::span(five).first(1), 1000); });
}

}  // namespace
}  // namespace greenroom::cache
