// Broken vocabularies are refused with a message that names the key, what was found and what was expected.

#include "quant/base/error.h"
#include "tests/runtime/text/small_vocabulary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace greenroom::test {
namespace {

struct Mutation {
    std::string name;
    std::function<void(SmallVocabulary&)> apply;
    ErrorKind kind;
    std::vector<std::string> message_has;
};

void expect_refused(const SmallVocabulary& vocabulary, const Mutation& mutation) {
    SCOPED_TRACE(mutation.name);
    try {
        vocabulary.load();
        ADD_FAILURE() << "was accepted";
    } catch (const Error& e) {
        EXPECT_EQ(e.kind(), mutation.kind) << e.what();
        EXPECT_NE(std::string(e.what()).find("small.gguf"), std::string::npos) << e.what();
        for (const std::string& part : mutation.message_has)
            EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
}

TEST(Vocabulary, BrokenByteLevelVocabularyIsRefused) {
    using V = SmallVocabulary;
    const Mutation mutations[] = {
        {"no model", [](V& v) { v.model.reset(); }, ErrorKind::bad_input, {"tokenizer.ggml.model"}},
        {"unknown model",
         [](V& v) { v.model = "rwkv"; },
         ErrorKind::unsupported,
         {"tokenizer.ggml.model", "\"rwkv\"", "gpt2", "llama"}},
        {"unknown pre",
         [](V& v) { v.pre = "klingon"; },
         ErrorKind::unsupported,
         {"tokenizer.ggml.pre", "\"klingon\"", "qwen2", "kimi-k2", "deepseek-v3"}},
        {"no tokens", [](V& v) { v.tokens.reset(); }, ErrorKind::bad_input, {"tokenizer.ggml.tokens"}},
        {"empty tokens",
         [](V& v) { v.tokens->clear(), v.types->clear(); },
         ErrorKind::bad_input,
         {"tokenizer.ggml.tokens", "0 entries"}},
        {"types too short",
         [](V& v) { v.types->pop_back(); },
         ErrorKind::bad_input,
         {"tokenizer.ggml.token_type", "257 entries", "258"}},
        {"types too long",
         [](V& v) { v.types->push_back(1); },
         ErrorKind::bad_input,
         {"tokenizer.ggml.token_type", "259 entries", "258"}},
        {"type unknown",
         [](V& v) { v.types->at(7) = 9; },
         ErrorKind::bad_input,
         {"tokenizer.ggml.token_type[7]", "is 9", "0 to 6"}},
        {"type negative",
         [](V& v) { v.types->at(7) = -1; },
         ErrorKind::bad_input,
         {"tokenizer.ggml.token_type[7]", "is -1"}},
        {"no merges", [](V& v) { v.merges.reset(); }, ErrorKind::bad_input, {"tokenizer.ggml.merges"}},
        {"merge without space",
         [](V& v) { v.merges->push_back("ab"); },
         ErrorKind::bad_input,
         {"tokenizer.ggml.merges[1]", "\"ab\""}},
        {"merge with an empty part",
         [](V& v) { v.merges->push_back(" b"); },
         ErrorKind::bad_input,
         {"tokenizer.ggml.merges[1]", "\" b\""}},
        {"merge with nothing behind",
         [](V& v) { v.merges->push_back("a "); },
         ErrorKind::bad_input,
         {"tokenizer.ggml.merges[1]"}},
        {"merge of three",
         [](V& v) { v.merges->push_back("a b c"); },
         ErrorKind::bad_input,
         {"tokenizer.ggml.merges[1]", "\"a b c\""}},
        {"empty merge",
         [](V& v) { v.merges->push_back(""); },
         ErrorKind::bad_input,
         {"tokenizer.ggml.merges[1]"}},
        {"merge into no token",
         [](V& v) { v.merges->push_back("x y"); },
         ErrorKind::bad_input,
         {"tokenizer.ggml.merges[1]", "\"x y\"", "normal tokens"}},
        {"merge outside of the alphabet",
         [](V& v) { v.merges->push_back("語 a"); },
         ErrorKind::bad_input,
         {"tokenizer.ggml.merges[1]"}},
        {"merge into a control token",
         [](V& v) { v.merges->push_back("a b"), v.types->at(256) = 3; },
         ErrorKind::bad_input,
         {"tokenizer.ggml.merges[0]", "\"a b\""}},
        {"byte missing",
         [](V& v) { v.tokens->at('A') = "AAA"; },
         ErrorKind::bad_input,
         {"tokenizer.ggml.tokens", "0x41"}},
        {"BOS out of range",
         [](V& v) { v.ids["bos_token_id"] = 258; },
         ErrorKind::bad_input,
         {"tokenizer.ggml.bos_token_id", "258", "258 tokens"}},
        {"EOS out of range",
         [](V& v) { v.ids["eos_token_id"] = 1 << 30; },
         ErrorKind::bad_input,
         {"tokenizer.ggml.eos_token_id", "1073741824"}},
        {"EOT out of range",
         [](V& v) { v.ids["eot_token_id"] = 1000; },
         ErrorKind::bad_input,
         {"tokenizer.ggml.eot_token_id", "1000"}},
        {"EOM negative",
         [](V& v) { v.ids["eom_token_id"] = -1; },
         ErrorKind::bad_input,
         {"tokenizer.ggml.eom_token_id"}},
        {"BOS wanted and missing",
         [](V& v) { v.flags["add_bos_token"] = true; },
         ErrorKind::bad_input,
         {"tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id"}},
        {"EOS wanted and missing",
         [](V& v) { v.flags["add_eos_token"] = true; },
         ErrorKind::bad_input,
         {"tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id"}},
        {"byte token misspelled",
         [](V& v) { v.tokens->at(257) = "<0xZZ>", v.types->at(257) = 6; },
         ErrorKind::bad_input,
         {"tokenizer.ggml.tokens[257]", "<0xZZ>"}},
    };
    for (const Mutation& mutation : mutations) {
        SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
        v.add_merge("a", "b");
        v.add("<|end|>", 3);
        v.load();  // not broken yet
        mutation.apply(v);
        expect_refused(v, mutation);
    }
}

TEST(Vocabulary, BrokenSentencePieceVocabularyIsRefused) {
    using V = SmallVocabulary;
    const Mutation mutations[] = {
        {"no scores", [](V& v) { v.scores.reset(); }, ErrorKind::bad_input, {"tokenizer.ggml.scores"}},
        {"scores too short",
         [](V& v) { v.scores->pop_back(); },
         ErrorKind::bad_input,
         {"tokenizer.ggml.scores", "259 entries", "260"}},
        {"score not a number",
         [](V& v) { v.scores->at(4) = std::numeric_limits<float>::quiet_NaN(); },
         ErrorKind::bad_input,
         {"tokenizer.ggml.scores[4]", "nan"}},
        {"score infinite",
         [](V& v) { v.scores->at(4) = -std::numeric_limits<float>::infinity(); },
         ErrorKind::bad_input,
         {"tokenizer.ggml.scores[4]"}},
        {"byte token missing",
         [](V& v) { v.tokens->at(3 + 0x41) = "B", v.types->at(3 + 0x41) = 1; },
         ErrorKind::bad_input,
         {"<0x41>"}},
        {"no types: no byte tokens", [](V& v) { v.types.reset(); }, ErrorKind::bad_input, {"<0x00>"}},
        {"byte token too long",
         [](V& v) { v.tokens->at(3) = "<0x000>"; },
         ErrorKind::bad_input,
         {"tokenizer.ggml.tokens[3]", "<0x000>"}},
        {"byte token empty",
         [](V& v) { v.tokens->at(3) = ""; },
         ErrorKind::bad_input,
         {"tokenizer.ggml.tokens[3]"}},
    };
    for (const Mutation& mutation : mutations) {
        SmallVocabulary v = SmallVocabulary::sentencepiece();
        v.add("▁");
        v.load();  // not broken yet
        mutation.apply(v);
        expect_refused(v, mutation);
    }
}

TEST(Vocabulary, OfEqualTokensTheLastOneCounts) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
    v.add_merge("a", "b");
    const text::TokenId again = v.add("ab");
    v.add("<x>", 3);
    const text::TokenId control_again = v.add("<x>", 3);
    const text::Tokenizer tokenizer = v.load();
    EXPECT_EQ(tokenizer.encode("ab<x>"), (std::vector{again, control_again}));
}

TEST(Vocabulary, EmptyTokensAreNeverFound) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
    v.add("", 1);
    v.add("", 3);
    const text::TokenId user_defined = v.add("", 4);
    const text::Tokenizer tokenizer = v.load();
    EXPECT_EQ(tokenizer.encode("a"), std::vector<text::TokenId>{'a'});
    EXPECT_EQ(tokenizer.piece(user_defined), "");
}

TEST(Vocabulary, MissingTypesMeanNormal) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
    v.types.reset();
    EXPECT_EQ(v.load().encode("a"), std::vector<text::TokenId>{'a'});
}

TEST(Vocabulary, MissingPreMeansDefault) {
    SmallVocabulary v = SmallVocabulary::byte_level("default");
    v.add_merge("1", "2");
    SmallVocabulary without = v;
    without.pre.reset();
    EXPECT_EQ(without.load().encode("12 !a"), v.load().encode("12 !a"));
}

TEST(Vocabulary, ByteThatIsInNoUtf8MayBeMissing) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
    v.types->at(0xC0) = 4;  // as DeepSeek's older vocabularies have it: the character "À"
    v.types->at(0xFF) = 4;
    const text::Tokenizer tokenizer = v.load();
    EXPECT_EQ(tokenizer.encode("a\xC0"), (std::vector<text::TokenId>{'a', 0xEF, 0xBF, 0xBD}));
}

}  // namespace
}  // namespace greenroom::test
