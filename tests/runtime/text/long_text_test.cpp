// Texts that are one long piece: no limit of PCRE2 is hit and no step takes quadratic time. A quadratic one
// would take hours; the test's timeout finds it.

#include "runtime/text/pre_tokenizer.h"
#include "tests/runtime/text/small_vocabulary.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace greenroom::text {
namespace {

using test::SmallVocabulary;

std::string repeat(std::string_view unit, std::size_t bytes) {
    std::string text;
    text.reserve(bytes + unit.size());
    while (text.size() < bytes) text += unit;
    return text;
}

class LongText : public testing::TestWithParam<const char*> {};

TEST_P(LongText, IsCut) {
    const PreTokenizer pre(find_pre_tokenizer(GetParam(), "test"));
    const auto expect_all_of = [&](std::string_view unit, std::size_t bytes) {
        const std::string text = repeat(unit, bytes) + "中";
        std::size_t cut = 0;
        for (const std::string_view piece : pre.split(text)) cut += piece.size();
        EXPECT_EQ(cut, text.size()) << unit;
    };
    // One piece, or what a pattern takes and must give back byte by byte.
    for (const std::string_view unit : {" ", "a", "A"}) expect_all_of(unit, 10'000'000);
    for (const std::string_view unit : {"\n", " \n", "中", "\xCC\x81", "!", "1", "'s", "\x01"})
        expect_all_of(unit, 1'000'000);
}

std::string suite_name(const testing::TestParamInfo<const char*>& tested) {
    std::string name = tested.param;
    for (char& c : name)
        if (c == '-') c = '_';
    return name;
}

INSTANTIATE_TEST_SUITE_P(PreTokenizers, LongText,
                         testing::Values("default", "gpt-2", "llama-bpe", "qwen2", "qwen35", "gpt-4o",
                                         "tekken", "kimi-k2", "deepseek-llm", "deepseek-coder", "deepseek-v3",
                                         "bailingmoe2"),
                         suite_name);

TEST(LongWord, BpeMergesAMegabyte) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-4o");
    std::string token = "a";
    TokenId longest = 'a';
    for (int i = 0; i < 5; ++i) {
        longest = v.add_merge(token, token);
        token += token;
    }
    const std::size_t n = std::size_t{1} << 15;
    const auto ids = v.load().encode(repeat("a", 32 * n));
    EXPECT_EQ(ids, std::vector<TokenId>(n, longest));
}

TEST(LongWord, SentencePieceMergesAMegabyte) {
    SmallVocabulary v = SmallVocabulary::sentencepiece();
    v.flags["add_space_prefix"] = false;
    v.add("a", 1, -9);
    std::string token = "a";
    TokenId longest = 0;
    for (int i = 0; i < 5; ++i) {
        token += token;
        longest = v.add(token, 1, static_cast<float>(-i));
    }
    const std::size_t n = std::size_t{1} << 15;
    const auto ids = v.load().encode(repeat("a", 32 * n));
    EXPECT_EQ(ids, std::vector<TokenId>(n, longest));
}

}  // namespace
}  // namespace greenroom::text
