#include "cpu/read_bandwidth.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

namespace greenroom::cpu {
namespace {

TEST(ReadBandwidth, EveryByteIsRead) {
    // Two pieces and a part of one; a changed bit anywhere changes the result.
    std::vector<std::byte> bytes((std::size_t{2} << 20) + 640, std::byte{3});
    ThreadTeam team(2);
    const std::uint64_t before = read_bytes(team, bytes);
    EXPECT_EQ(read_bytes(bytes), before);
    for (const std::size_t at : {std::size_t{0}, std::size_t{127}, std::size_t{1} << 20, bytes.size() - 1}) {
        bytes[at] ^= std::byte{64};
        EXPECT_NE(read_bytes(team, bytes), before) << at;
        EXPECT_EQ(read_bytes(team, bytes), read_bytes(bytes)) << at;
        bytes[at] ^= std::byte{64};
    }
}

}  // namespace
}  // namespace greenroom::cpu
