#include "runtime/text/detokenizer.h"

#include "tests/runtime/text/small_vocabulary.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace greenroom::text {
namespace {

using test::SmallVocabulary;

const std::string R = "\xEF\xBF\xBD";

TEST(Detokenizer, HoldsBytesBackUntilTheCharacterIsWhole) {
    const Tokenizer tokenizer = SmallVocabulary::byte_level("gpt-2").load();
    Detokenizer detokenizer(tokenizer);
    EXPECT_EQ(detokenizer.push(0xF0), "");
    EXPECT_EQ(detokenizer.push(0x9F), "");
    EXPECT_EQ(detokenizer.push(0x98), "");
    EXPECT_EQ(detokenizer.push(0x80), "😀");
    EXPECT_EQ(detokenizer.push('a'), "a");
    EXPECT_EQ(detokenizer.finish(), "");
}

TEST(Detokenizer, BrokenSequencesComeOutAtOnce) {
    const Tokenizer tokenizer = SmallVocabulary::byte_level("gpt-2").load();
    Detokenizer detokenizer(tokenizer);
    EXPECT_EQ(detokenizer.push(0x80), R);
    EXPECT_EQ(detokenizer.push(0xE2), "");
    EXPECT_EQ(detokenizer.push(0x82), "");
    EXPECT_EQ(detokenizer.push('a'), R + "a");
    EXPECT_EQ(detokenizer.push(0xE2), "");
    EXPECT_EQ(detokenizer.push(0xC3), R);
    EXPECT_EQ(detokenizer.finish(), R);
    EXPECT_EQ(detokenizer.finish(), "");
}

TEST(Detokenizer, ControlTokensAreSkippedOrShown) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
    const TokenId control = v.add("<|im_end|>", 3);
    const TokenId user_defined = v.add("<think>", 4);
    const TokenId unused = v.add("[PAD7]", 5);
    const Tokenizer tokenizer = v.load();
    const std::vector<TokenId> ids = {'a', control, user_defined, unused, 'b'};
    EXPECT_EQ(tokenizer.decode(ids), "a<think>b");
    EXPECT_EQ(tokenizer.decode(ids, Tokenizer::ControlTokens::show), "a<|im_end|><think>[PAD7]b");
}

TEST(Detokenizer, IdsThatDoNotExistAreNoText) {
    const Tokenizer tokenizer = SmallVocabulary::byte_level("gpt-2").load();
    EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{'a', -1, 256, 1 << 30, 'b'}), "ab");
    EXPECT_EQ(tokenizer.piece(-1), "");
    EXPECT_FALSE(tokenizer.is_control(-1));
    EXPECT_FALSE(tokenizer.is_control(256));
    EXPECT_FALSE(tokenizer.is_end_of_generation(-1));
}

TEST(Detokenizer, DummyPrefixIsDroppedAtTheBeginningOnly) {
    SmallVocabulary v = SmallVocabulary::sentencepiece();
    const TokenId word = v.add("▁a");
    const TokenId spaces = v.add("▁▁");
    const Tokenizer tokenizer = v.load();
    const TokenId bos = 1;
    const auto show = Tokenizer::ControlTokens::show;

    EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{word, word}), "a a");
    EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{bos, word, word}), "a a");
    EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{spaces, word}), "  a");
    EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{bos, word}, show), "<s> a");
    EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{word, word}, show, TextPosition::continuation), " a a");

    Detokenizer detokenizer(tokenizer);
    EXPECT_EQ(detokenizer.push(word), "a");
    EXPECT_EQ(detokenizer.push(word), " a");
    EXPECT_EQ(detokenizer.finish(), "");
    EXPECT_EQ(detokenizer.push(word), "a");  // finish() has begun the next text
}

TEST(Detokenizer, NoDummyPrefixNothingDropped) {
    SmallVocabulary v = SmallVocabulary::sentencepiece();
    const TokenId word = v.add("▁a");
    v.flags["add_space_prefix"] = false;
    const Tokenizer tokenizer = v.load();
    EXPECT_FALSE(tokenizer.has_dummy_prefix());
    EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{word}), " a");
}

}  // namespace
}  // namespace greenroom::text
