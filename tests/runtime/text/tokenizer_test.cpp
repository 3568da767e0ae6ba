#include "runtime/text/tokenizer.h"

#include "runtime/text/pre_tokenizer_table.h"
#include "runtime/text/utf8.h"
#include "tests/runtime/text/small_vocabulary.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace greenroom::text {
namespace {

using test::SmallVocabulary;
using Ids = std::vector<TokenId>;

EncodeOptions as_metadata() {
    EncodeOptions options;
    options.add_bos_eos = AddBosEos::as_metadata;
    return options;
}

TEST(Bpe, LowerRankMergesFirst) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
    const TokenId bc = v.add_merge("b", "c");
    const TokenId ab = v.add_merge("a", "b");
    const TokenId abc = v.add_merge("ab", "c");
    const Tokenizer tokenizer = v.load();
    EXPECT_EQ(tokenizer.encode("abc"), (Ids{'a', bc}));  // ab + c would be one token, but b + c comes first
    EXPECT_EQ(tokenizer.encode("abab"), (Ids{ab, ab}));
    EXPECT_EQ(tokenizer.piece(abc), "abc");
}

TEST(Bpe, EqualPairsMergeFromTheLeft) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
    const TokenId aa = v.add_merge("a", "a");
    const TokenId aaa = v.add_merge("aa", "a");
    EXPECT_EQ(v.load().encode("aaaaa"), (Ids{aa, aaa}));
}

TEST(Bpe, WholePieceGoesFirstWhereTheOriginalDoesSo) {
    for (const bool whole_first : {false, true}) {
        SmallVocabulary v = SmallVocabulary::byte_level(whole_first ? "gpt-4o" : "gpt-2");
        const TokenId xyz = v.add("xyz");  // no merge makes it
        EXPECT_EQ(v.load().encode("xyz"), whole_first ? Ids{xyz} : (Ids{'x', 'y', 'z'}));
    }
}

TEST(Bpe, ControlTokensAreNotMadeFromText) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-4o");
    v.add("abc", 3);
    EncodeOptions literal;
    literal.special = SpecialTokens::literal;
    EXPECT_EQ(v.load().encode("abc", literal), (Ids{'a', 'b', 'c'}));
}

TEST(Bpe, QwenNormalizesToNfcAndGpt4oDoesNot) {
    const std::string decomposed = "e\xCC\x81";
    EXPECT_EQ(SmallVocabulary::byte_level("qwen2").load().encode(decomposed), (Ids{0xC3, 0xA9}));
    EXPECT_EQ(SmallVocabulary::byte_level("gpt-4o").load().encode(decomposed), (Ids{'e', 0xCC, 0x81}));
}

// Bytes of any kind come back, except that invalid UTF-8 is U+FFFD.
TEST(Bpe, DecodingUndoesEncoding) {
    std::mt19937 random(1);
    std::uniform_int_distribution<int> byte(0, 255);
    for (const PreTokenizerRule& rule : pre_tokenizer_rules()) {
        if (rule.to_nfc) continue;
        SmallVocabulary v = SmallVocabulary::byte_level(std::string(rule.name));
        v.ids["bos_token_id"] = 0;
        v.add_merge("a", "b");
        v.add_merge("Ġ", "ab");
        const Tokenizer tokenizer = v.load();
        for (int round = 0; round < 50; ++round) {
            std::string bytes = " ab";
            for (int i = 0; i < 4 * round; ++i) bytes.push_back(static_cast<char>(byte(random)));
            ASSERT_EQ(tokenizer.decode(tokenizer.encode(bytes)), replace_invalid_utf8(bytes)) << rule.name;
        }
    }
}

TEST(SentencePiece, BestScoreMergesFirst) {
    SmallVocabulary v = SmallVocabulary::sentencepiece();
    v.flags["add_space_prefix"] = false;
    const TokenId a = v.add("a", 1, -10);
    v.add("b", 1, -10);
    const TokenId c = v.add("c", 1, -10);
    const TokenId ab = v.add("ab", 1, -2);
    const TokenId bc = v.add("bc", 1, -1);
    const Tokenizer tokenizer = v.load();
    EXPECT_EQ(tokenizer.encode("abc"), (Ids{a, bc}));
    EXPECT_EQ(tokenizer.encode("abac"), (Ids{ab, a, c}));
}

TEST(SentencePiece, UnknownCharactersBecomeBytes) {
    SmallVocabulary v = SmallVocabulary::sentencepiece();
    const TokenId space = v.add("▁");
    const TokenId first_byte = 3;
    EXPECT_EQ(v.load().encode("é"), (Ids{space, first_byte + 0xC3, first_byte + 0xA9}));
}

TEST(SentencePiece, ControlTokensAreNotMadeFromText) {
    SmallVocabulary v = SmallVocabulary::sentencepiece();
    v.flags["add_space_prefix"] = false;
    const TokenId left = v.add("<", 1, -3);
    const TokenId right = v.add("s>", 1, -1);
    EncodeOptions literal;
    literal.special = SpecialTokens::literal;
    const Tokenizer tokenizer = v.load();
    const TokenId first_byte = 3;
    EXPECT_EQ(tokenizer.encode("<s>", literal), (Ids{left, right}));
    EXPECT_EQ(tokenizer.encode("<s>"), Ids{1});
    EXPECT_EQ(tokenizer.encode("<0x41>", literal).front(), left);
    EXPECT_EQ(tokenizer.encode("A"), Ids{first_byte + 'A'});
}

TEST(SentencePiece, DummyPrefix) {
    SmallVocabulary v = SmallVocabulary::sentencepiece();
    const TokenId space = v.add("▁");
    const TokenId a = v.add("a");
    const Tokenizer tokenizer = v.load();
    EncodeOptions start_only;
    start_only.dummy_prefix = DummyPrefix::start_only;
    const TokenId bos = 1;

    EXPECT_EQ(tokenizer.encode("a<s>a"), (Ids{space, a, bos, space, a}));
    EXPECT_EQ(tokenizer.encode("a<s>a", start_only), (Ids{space, a, bos, a}));
    EXPECT_EQ(tokenizer.encode("<s>a", start_only), (Ids{bos, a}));
    EXPECT_EQ(tokenizer.encode(" a", start_only), (Ids{space, a}));
    EXPECT_EQ(tokenizer.encode(" a"), (Ids{space, space, a}));
    EXPECT_EQ(tokenizer.encode(""), Ids{});
}

TEST(Tokenizer, BosAndEosFollowTheMetadata) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
    EXPECT_EQ(v.load().encode("a", as_metadata()), Ids{'a'});
    EXPECT_FALSE(v.load().bos().has_value());

    v.ids = {{"bos_token_id", 1}, {"eos_token_id", 2}};
    EXPECT_EQ(v.load().encode("a", as_metadata()), Ids{'a'});

    v.flags = {{"add_bos_token", true}, {"add_eos_token", true}};
    EXPECT_EQ(v.load().encode("a", as_metadata()), (Ids{1, 'a', 2}));
    EXPECT_EQ(v.load().encode("", as_metadata()), (Ids{1, 2}));
    EXPECT_EQ(v.load().encode("a"), Ids{'a'});
    EXPECT_EQ(v.load().bos(), 1);
    EXPECT_EQ(v.load().eos(), 2);
}

TEST(Tokenizer, BosByDefault) {
    SmallVocabulary v = SmallVocabulary::byte_level("llama-bpe");
    EXPECT_FALSE(v.load().adds_bos());  // there is none
    v.ids = {{"bos_token_id", 1}};
    EXPECT_TRUE(v.load().adds_bos());
    v.flags = {{"add_bos_token", false}};
    EXPECT_FALSE(v.load().adds_bos());

    SmallVocabulary s = SmallVocabulary::sentencepiece();
    EXPECT_TRUE(s.load().adds_bos());
    EXPECT_FALSE(s.load().adds_eos());
    EXPECT_EQ(s.load().bos(), 1);
    EXPECT_EQ(s.load().eos(), 2);
}

TEST(Tokenizer, EndOfGenerationFromIdsAndKnownTexts) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
    const TokenId im_end = v.add("<|im_end|>", 3);
    const TokenId im_user = v.add("<|im_user|>", 3);
    const TokenId plain = v.add("</s>", 1);
    const TokenId end = v.add("<|end|>", 3);
    v.ids = {{"eos_token_id", 'e'}, {"eot_token_id", 't'}, {"eom_token_id", 'm'}};
    const Tokenizer tokenizer = v.load();
    for (const TokenId id : {im_end, end, TokenId{'e'}, TokenId{'t'}, TokenId{'m'}})
        EXPECT_TRUE(tokenizer.is_end_of_generation(id)) << id;
    for (const TokenId id : {im_user, plain, TokenId{'a'}})
        EXPECT_FALSE(tokenizer.is_end_of_generation(id)) << id;

    const TokenId returns = v.add("<|return|>", 3);
    const TokenId call = v.add("<|call|>", 3);
    const Tokenizer harmony = v.load();
    EXPECT_TRUE(harmony.is_end_of_generation(returns));
    EXPECT_TRUE(harmony.is_end_of_generation(call));
    EXPECT_FALSE(harmony.is_end_of_generation(end));  // ends a message of gpt-oss, not the answer
}

TEST(Tokenizer, OutlivesTheFile) {
    const Tokenizer tokenizer = SmallVocabulary::byte_level("gpt-2").load();  // the image is gone
    EXPECT_EQ(tokenizer.piece('x'), "x");
    Tokenizer moved = SmallVocabulary::byte_level("gpt-2").load();
    Tokenizer other = std::move(moved);
    EXPECT_EQ(other.encode("x"), Ids{'x'});
}

}  // namespace
}  // namespace greenroom::text
