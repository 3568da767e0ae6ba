#include "runtime/text/utf8.h"

#include "runtime/text/byte_alphabet.h"
#include "runtime/text/nfc.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace greenroom::text {
namespace {

TEST(Utf8, EveryCodePointRoundTrips) {
    for (char32_t c = 0; c <= 0x10FFFF; ++c) {
        if (c >= 0xD800 && c <= 0xDFFF) continue;
        std::string bytes;
        append_utf8(bytes, c);
        const Utf8Char read = read_utf8(bytes);
        ASSERT_EQ(read.status, Utf8Status::complete) << std::uint32_t{c};
        ASSERT_EQ(read.size, bytes.size()) << std::uint32_t{c};
        ASSERT_EQ(std::uint32_t{read.code_point}, std::uint32_t{c});
        for (std::size_t cut = 1; cut < bytes.size(); ++cut)
            ASSERT_EQ(read_utf8(bytes.substr(0, cut)).status, Utf8Status::truncated) << std::uint32_t{c};
    }
}

// What Python's bytes.decode("utf-8", "replace") gives; R is U+FFFD.
struct ReplaceCase {
    std::string bytes;
    std::string text;
};

TEST(Utf8, EachMaximalInvalidSubpartIsOneReplacement) {
    const std::string R(kReplacementCharacter);
    const ReplaceCase cases[] = {
        {"", ""},
        {"abc\x80"
         "def",
         "abc" + R + "def"},                                  // a continuation on its own
        {"caf\xC3", "caf" + R},                               // cut off at the end
        {"x\xE4\xBD y", "x" + R + " y"},                      // two bytes of three
        {"\xF0\x9F\x98 end", R + " end"},                     // three bytes of four
        {"\xC0\xAF\xE0\x80\xAF", R + R + R + R + R},          // overlong forms
        {"\xED\xA0\x80\xED\xB0\x80", R + R + R + R + R + R},  // a pair of surrogates
        {"\xF4\x90\x80\x80", R + R + R + R},                  // above U+10FFFF
        {"\xF8\x88\x80\x80\x80", R + R + R + R + R},          // five bytes
        {"\xFF\xFE", R + R},
        {"\xF1\x80\x80\xE1\x80\xC2", R + R + R},  // three beginnings
        {"\xE2\x82\xE2\x82\xAC", R + "€"},        // a beginning, then a character
    };
    for (const ReplaceCase& c : cases) {
        EXPECT_EQ(replace_invalid_utf8(c.bytes), c.text);
        EXPECT_EQ(is_utf8(c.bytes), c.bytes == c.text);
        EXPECT_TRUE(is_utf8(c.text));
    }
}

TEST(Utf8, CompleteTextLeavesWhatMayStillBecomeACharacter) {
    std::string out;
    EXPECT_EQ(append_complete_utf8(out, "a\xF0\x9F\x98"), 1u);
    EXPECT_EQ(out, "a");
    EXPECT_EQ(append_complete_utf8(out, "\xF0\x9F\x98\x80"), 4u);
    EXPECT_EQ(out, "a😀");
    EXPECT_EQ(append_complete_utf8(out, "\xF0z\xC3"), 2u);
    EXPECT_EQ(out, "a😀\xEF\xBF\xBDz");
}

TEST(ByteAlphabet, SpellsEachByteOnce) {
    std::set<int> seen;
    for (char32_t c = 0; c < 0x400; ++c) {
        const auto byte = alphabet_byte(c);
        EXPECT_TRUE(!byte || seen.insert(*byte).second) << std::uint32_t{c};
    }
    EXPECT_EQ(seen.size(), 256u);
    EXPECT_EQ(alphabet_byte(U'Ġ'), ' ');
    EXPECT_EQ(alphabet_byte(U'Ċ'), '\n');
    EXPECT_EQ(alphabet_byte(U'Ń'), 0xAD);  // the last one: soft hyphen in Latin-1
}

TEST(ByteAlphabet, OtherCharactersStayAsTheyAre) {
    std::string out;
    EXPECT_TRUE(append_spelled_bytes(out, "Ġthe"));
    EXPECT_FALSE(append_spelled_bytes(out, "Ċ語\xFF"));
    EXPECT_EQ(out, " the\n語\xFF");
}

TEST(Nfc, ComposesAndReorders) {
    EXPECT_EQ(to_nfc("e\xCC\x81"), "é");
    EXPECT_EQ(to_nfc("\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB"), "한");
    EXPECT_EQ(to_nfc("a\xCC\x87\xCC\xA3"), "ạ\xCC\x87");  // the mark below goes first
    EXPECT_EQ(to_nfc("\xE2\x84\xAB"), "Å");               // ANGSTROM SIGN
    EXPECT_EQ(to_nfc(std::string("a\0b", 3)), std::string("a\0b", 3));
    EXPECT_EQ(to_nfc(""), "");
}

TEST(Nfc, FastTestNeverMissesAText) {
    for (char32_t c = 0; c < 0x30000; ++c) {
        if (c >= 0xD800 && c <= 0xDFFF) continue;
        std::string one;
        append_utf8(one, c);
        if (to_nfc(one) != one) {
            ASSERT_TRUE(may_need_nfc(one)) << std::uint32_t{c};
        }
    }
    EXPECT_FALSE(may_need_nfc("Größe, plain ASCII and Latin"));
    EXPECT_TRUE(may_need_nfc("cafe\xCC\x81"));
}

}  // namespace
}  // namespace greenroom::text
