#include "runtime/text/special_tokens.h"

#include "tests/runtime/text/small_vocabulary.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace greenroom::text {
namespace {

using test::SmallVocabulary;

// Ids above 255 are the special tokens of each test, in the order they were added; text comes out as bytes.
std::vector<TokenId> encode(const Tokenizer& tokenizer, std::string_view text,
                            SpecialTokens special = SpecialTokens::parse) {
    EncodeOptions options;
    options.special = special;
    return tokenizer.encode(text, options);
}

TEST(SpecialTokens, ControlTokensAreParsedOnRequest) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
    v.add("<a>", 3);
    const Tokenizer tokenizer = v.load();
    EXPECT_EQ(encode(tokenizer, "<a>x<a><a>"), (std::vector<TokenId>{256, 'x', 256, 256}));
    EXPECT_EQ(encode(tokenizer, "<a>x", SpecialTokens::literal), (std::vector<TokenId>{'<', 'a', '>', 'x'}));
    EXPECT_EQ(encode(tokenizer, "<a"), (std::vector<TokenId>{'<', 'a'}));
}

TEST(SpecialTokens, UserDefinedTokensAreParsedAlways) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
    v.add("<think>", 4);
    v.add("<unk>", 2);
    const Tokenizer tokenizer = v.load();
    EXPECT_EQ(encode(tokenizer, "a<think>b"), (std::vector<TokenId>{'a', 256, 'b'}));
    EXPECT_EQ(encode(tokenizer, "a<think>b", SpecialTokens::literal), (std::vector<TokenId>{'a', 256, 'b'}));
    EXPECT_EQ(encode(tokenizer, "<unk>"), std::vector<TokenId>{257});
    EXPECT_EQ(encode(tokenizer, "<unk>", SpecialTokens::literal).size(), 5u);
}

TEST(SpecialTokens, LeftmostThenLongest) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
    v.add("ab", 4);
    v.add("abcd", 4);
    v.add("bcdef", 4);
    v.add("abce", 4);
    const Tokenizer tokenizer = v.load();
    EXPECT_EQ(encode(tokenizer, "abcdef"), (std::vector<TokenId>{257, 'e', 'f'}));
    EXPECT_EQ(encode(tokenizer, "abcx"), (std::vector<TokenId>{256, 'c', 'x'}));
    EXPECT_EQ(encode(tokenizer, "abce"), std::vector<TokenId>{259});
    EXPECT_EQ(encode(tokenizer, "bcdef"), std::vector<TokenId>{258});
    EXPECT_EQ(encode(tokenizer, "aab"), (std::vector<TokenId>{'a', 256}));
    EXPECT_EQ(encode(tokenizer, "abc"), (std::vector<TokenId>{256, 'c'}));
}

TEST(SpecialTokens, UnusedTokensAreNeverParsed) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
    const TokenId pad = v.add("[PAD1]", 5);
    const Tokenizer tokenizer = v.load();
    EXPECT_EQ(encode(tokenizer, "[PAD1]").size(), 6u);
    EXPECT_TRUE(tokenizer.is_control(pad));
}

TEST(SpecialTokens, NonAsciiTokens) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
    v.add("<｜end▁of▁sentence｜>", 3);
    v.add("<｜end▁of｜>", 3);
    const Tokenizer tokenizer = v.load();
    EXPECT_EQ(encode(tokenizer, "a<｜end▁of▁sentence｜><｜end▁of｜>"), (std::vector<TokenId>{'a', 256, 257}));
}

// 2 MB that keep beginning special tokens which never end.
TEST(SpecialTokens, ManyTokensWithACommonPrefixCostLittle) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
    for (int i = 0; i < 2000; ++i) v.add("<|reserved_token_" + std::to_string(i) + "|>", 3);
    const Tokenizer tokenizer = v.load();
    std::string text;
    while (text.size() < (2 << 20)) text += "<|reserved_token_ ";
    EXPECT_GE(encode(tokenizer, text).size(), text.size() / 2);
}

}  // namespace
}  // namespace greenroom::text
