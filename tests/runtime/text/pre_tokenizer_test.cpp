#include "runtime/text/pre_tokenizer.h"

#include "quant/base/error.h"
#include "runtime/text/utf8.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::text {
namespace {

std::string split(std::string_view name, std::string_view text) {
    const PreTokenizer pre(find_pre_tokenizer(name, "test"));
    std::string joined;
    for (const std::string_view piece : pre.split(text))
        joined.append(joined.empty() ? "" : "|").append(piece);
    return joined;
}

TEST(PreTokenizer, CutsAsTheOriginalsDo) {
    const std::string_view text = "Hello, World's 12345  end!\n\nMcDonald x";
    EXPECT_EQ(split("gpt-2", text), "Hello|,| World|'s| 12345| | end|!|\n|\n|McDonald| x");
    EXPECT_EQ(split("refact", text), "Hello|,| World|'s| |1|2|3|4|5| | end|!|\n|\n|McDonald| x");
    EXPECT_EQ(split("llama-bpe", text), "Hello|,| World|'s| |123|45| | end|!\n\n|McDonald| x");
    EXPECT_EQ(split("qwen2", text), "Hello|,| World|'s| |1|2|3|4|5| | end|!\n\n|McDonald| x");
    EXPECT_EQ(split("qwen35", text), "Hello|,| World|'s| |1|2|3|4|5| | end|!\n\n|McDonald| x");
    EXPECT_EQ(split("gpt-4o", text), "Hello|,| World's| |123|45| | end|!\n\n|Mc|Donald| x");
    EXPECT_EQ(split("kimi-k2", text), "Hello|,| World's| |123|45| | end|!\n\n|Mc|Donald| x");
    EXPECT_EQ(split("tekken", text), "Hello|,| World|'s| |1|2|3|4|5| | end|!\n\n|Mc|Donald| x");
    EXPECT_EQ(split("deepseek-v3", text), "Hello|,| World|'s| |123|45| | end|!\n\n|McDonald| x");
    EXPECT_EQ(split("deepseek-llm", text), "Hello|,| World|'|s| |1|2|3|4|5| | end|!|\n|\n|McDonald| x");
    EXPECT_EQ(split("deepseek-coder", text), "Hello|,| World|'|s| |1|2|3|4|5| | end|!|\n|\n|McDonald| x");
    EXPECT_EQ(split("seed-coder", text), "Hello|,| World|'s| |1|2|3|4|5| | end|!|\n\n|McDonald| x");
    EXPECT_EQ(split("bailingmoe2", text), "Hello|,| World|'s| |1|2|3|4|5| | end|!\n\n|McDonald| x");
}

TEST(PreTokenizer, MarksBelongToWordsWhereTheOriginalSaysSo) {
    EXPECT_EQ(split("qwen2", "नमस्ते"), "नमस|्त|े");
    EXPECT_EQ(split("qwen35", "नमस्ते"), "नमस्ते");
    EXPECT_EQ(split("gpt-4o", "नमस्ते"), "नमस्ते");
    EXPECT_EQ(split("llama4", "नमस्ते"), "नमस्ते");
    EXPECT_EQ(split("kimi-k2", "नमस्ते"), "नमस्ते");
}

TEST(PreTokenizer, KimiSetsHanApart) {
    EXPECT_EQ(split("kimi-k2", "abc漢字def"), "abc|漢字|def");
    EXPECT_EQ(split("gpt-4o", "abc漢字def"), "abc漢字def");
    // U+3001 and U+30FC are used with Han (Script_Extensions) but are not Han.
    EXPECT_EQ(split("kimi-k2", "漢、ラーメン"), "漢|、ラーメン");
}

TEST(PreTokenizer, WhiteSpaceIsUnicodes) {
    const std::string vowel_separator = "\xE1\xA0\x8E";  // U+180E: a format character since Unicode 6.3
    EXPECT_EQ(split("qwen2", "a " + vowel_separator + "b"), "a| " + vowel_separator + "|b");
    EXPECT_EQ(split("gpt-2", "a" + vowel_separator + " b"), "a|" + vowel_separator + "| b");
    for (const char32_t space : {U'\t', U'\v', U'\f', U'\u0085', U'\u00A0', U'\u1680', U'\u2003', U'\u2028',
                                 U'\u2029', U'\u202F', U'\u205F', U'\u3000'}) {
        std::string text = "a";
        for (int i = 0; i < 2; ++i) append_utf8(text, space);
        EXPECT_EQ(split("gpt-2", text), "a|" + text.substr(1)) << std::uint32_t{space};
    }
}

TEST(PreTokenizer, ContractionsIgnoreCaseWhereTheOriginalDoes) {
    EXPECT_EQ(split("gpt-2", "I'LL"), "I|'|LL");
    EXPECT_EQ(split("qwen2", "I'LL"), "I|'LL");
    EXPECT_EQ(split("gpt-4o", "I'LL"), "I'LL");
}

TEST(PreTokenizer, DeepSeekLlmSetsTrailingSpaceApart) {
    EXPECT_EQ(split("deepseek-llm", "a 中 \t "), "a| |中| \t ");
    EXPECT_EQ(split("deepseek-llm", "  \n 中"), "  |\n| |中");
    EXPECT_EQ(split("deepseek-llm", "   "), "   ");
}

TEST(PreTokenizer, EmptyTextHasNoPieces) { EXPECT_EQ(split("deepseek-v3", ""), ""); }

TEST(PreTokenizer, UnknownNameIsAnErrorThatListsTheKnown) {
    try {
        find_pre_tokenizer("esperanto", "model.gguf");
        FAIL();
    } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::unsupported);
        for (const PreTokenizerRule& rule : pre_tokenizer_rules())
            EXPECT_NE(std::string(e.what()).find(rule.name), std::string::npos) << rule.name;
    }
}

// Whatever the text, no byte is lost and no piece is empty.
TEST(PreTokenizer, PiecesAddUpToTheText) {
    const std::u32string alphabet =
        U"aAzZ019 "
        U"\n\r\t'’.,!-/"
        U"_sStTlLéßΩя中文字カナ、。한국นี้नमस्ते\u0301\u0000\u0001\u00AD\u2003\u3000\u180E\uFFFD😀👨\u200D";
    std::mt19937 random(20240711);
    std::uniform_int_distribution<std::size_t> pick(0, alphabet.size() - 1);
    for (const PreTokenizerRule& rule : pre_tokenizer_rules()) {
        const PreTokenizer pre(rule);
        for (int round = 0; round < 200; ++round) {
            std::string text;
            for (int i = 0; i < round; ++i) append_utf8(text, alphabet[pick(random)]);
            std::string joined;
            for (const std::string_view piece : pre.split(text)) {
                ASSERT_FALSE(piece.empty()) << rule.name;
                ASSERT_TRUE(is_utf8(piece)) << rule.name;
                joined += piece;
            }
            ASSERT_EQ(joined, text) << rule.name;
        }
    }
}

}  // namespace
}  // namespace greenroom::text
