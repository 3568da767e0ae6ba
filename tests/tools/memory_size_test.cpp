// Amounts of memory on the command line.

#include "tools/memory_size.h"

#include <gtest/gtest.h>
#include <CLI/CLI.hpp>

#include <limits>
#include <string>
#include <vector>

namespace greenroom::tools {
namespace {

std::int64_t bytes_of(const std::string& text) { return parse_memory_size("--ram", text).bytes; }

TEST(MemorySize, BytesNeedNoUnit) {
    EXPECT_EQ(bytes_of("1"), 1);
    EXPECT_EQ(bytes_of("1500000000"), 1'500'000'000);
}

TEST(MemorySize, LettersAndBinaryUnitsArePowersOf1024) {
    for (const char* text : {"8G", "8g", "8GiB", "8gib", "8GIB", "8.0G"})
        EXPECT_EQ(bytes_of(text), std::int64_t{8} << 30) << text;
    EXPECT_EQ(bytes_of("512M"), 512 << 20);
    EXPECT_EQ(bytes_of("512MiB"), 512 << 20);
    EXPECT_EQ(bytes_of("3K"), 3072);
    EXPECT_EQ(bytes_of("3KiB"), 3072);
    EXPECT_EQ(bytes_of("2T"), std::int64_t{2} << 40);
    EXPECT_EQ(bytes_of("2TiB"), std::int64_t{2} << 40);
}

TEST(MemorySize, UnitsWithBArePowersOf1000) {
    EXPECT_EQ(bytes_of("3KB"), 3000);
    EXPECT_EQ(bytes_of("3mb"), 3'000'000);
    EXPECT_EQ(bytes_of("3GB"), 3'000'000'000);
    EXPECT_EQ(bytes_of("3TB"), 3'000'000'000'000);
}

TEST(MemorySize, FractionsAreAllowedAndThoseOfAByteDropped) {
    EXPECT_EQ(bytes_of("1.5GiB"), std::int64_t{3} << 29);
    EXPECT_EQ(bytes_of("0.5K"), 512);
    EXPECT_EQ(bytes_of("1.9999"), 1);
}

TEST(MemorySize, PercentsAreOfWhatIsFree) {
    const MemorySize half = parse_memory_size("--ram", "50%");
    EXPECT_EQ(half.bytes, 0);
    EXPECT_EQ(half.of(1001), 500);
    EXPECT_EQ(parse_memory_size("--ram", "12.5%").of(800), 100);
    const std::int64_t most = std::numeric_limits<std::int64_t>::max();
    EXPECT_EQ(parse_memory_size("--ram", "100%").of(most), most);
    EXPECT_LE(parse_memory_size("--ram", "99.99999999999999%").of(most), most);
}

TEST(MemorySize, BytesAreWhateverIsFree) { EXPECT_EQ(parse_memory_size("--ram", "2K").of(10), 2048); }

TEST(MemorySize, NotGivenUntilParsed) {
    EXPECT_FALSE(MemorySize{}.is_given());
    EXPECT_EQ(MemorySize{}.of(100), 0);
    EXPECT_TRUE(parse_memory_size("--ram", "1").is_given());
    EXPECT_TRUE(parse_memory_size("--ram", "0.1%").is_given());
}

TEST(MemorySize, NonsenseIsBadUsageThatNamesTheFlag) {
    const std::string many_digits(400, '9');
    std::vector<std::string> texts = {"",     "0",   "0G",       "-1",    "-5%",
                                      "+5",   "0%",  "100.1%",   "8GiBs", "8 GiB",
                                      "8Gi",  "8X",  "8%%",      "G",     "%",
                                      ".5G",  "inf", "nan",      "1e9",   "0x10",
                                      "8G\n", "0.9", "8388608T", "1,5G",  "9223372036854775808"};
    texts.emplace_back("8\0G", 3);
    texts.push_back(many_digits);
    texts.push_back(many_digits + "%");
    for (const std::string& text : texts) {
        try {
            parse_memory_size("--ram", text);
            ADD_FAILURE() << text;
        } catch (const CLI::ValidationError& error) {
            EXPECT_NE(std::string(error.what()).find("--ram"), std::string::npos) << text;
        }
    }
}

}  // namespace
}  // namespace greenroom::tools
