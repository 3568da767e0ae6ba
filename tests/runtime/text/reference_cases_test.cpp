// Real vocabularies against the ids of their original tokenizers: tiktoken, Hugging Face tokenizers,
// sentencepiece.

#include "quant/gguf.h"
#include "runtime/text/detokenizer.h"
#include "runtime/text/tokenizer.h"
#include "runtime/text/utf8.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace greenroom::text {
namespace {

using nlohmann::json;
using Ids = std::vector<TokenId>;

json load_json(const std::filesystem::path& path) {
    std::ifstream file(path);
    if (!file) throw std::runtime_error("cannot open " + path.string());
    return json::parse(file);
}

Tokenizer load_tokenizer(const std::filesystem::path& path) {
    return Tokenizer::load(quant::Gguf::open(path.string()));
}

std::string from_base64(const std::string& text) {
    static const std::string kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string bytes;
    std::uint32_t bits = 0;
    int n_bits = 0;
    for (const char c : text) {
        if (c == '=') break;
        bits = bits << 6 | static_cast<std::uint32_t>(kDigits.find(c));
        n_bits += 6;
        if (n_bits >= 8) bytes.push_back(static_cast<char>(bits >> (n_bits -= 8)));
    }
    return bytes;
}

std::string name_of(const testing::TestParamInfo<const char*>& info) {
    std::string name = info.param;
    for (char& c : name)
        if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
    return name;
}

// A folder that every clone has, or else one of the larger reference data.
std::optional<std::filesystem::path> find_folder(const std::string& relative) {
    const std::filesystem::path own = test::test_data(relative);
    return std::filesystem::exists(own) ? own : test::oracle_path(relative);
}

#define FOLDER_OR_SKIP(variable, relative)                                                  \
    const auto variable##_found = find_folder(relative);                                    \
    if (!variable##_found)                                                                  \
        GTEST_SKIP() << "no " << (relative) << " in tests/data or under GREENROOM_ORACLES"; \
    const std::filesystem::path& variable = *variable##_found

// tokenizer/NAME: vocab.gguf and cases.json.
class ReferenceTokenizer : public testing::TestWithParam<const char*> {};

TEST_P(ReferenceTokenizer, Encodes) {
    FOLDER_OR_SKIP(folder, std::string("tokenizer/") + GetParam());
    const Tokenizer tokenizer = load_tokenizer(folder / "vocab.gguf");
    const json reference = load_json(folder / "cases.json");

    EncodeOptions literal;
    literal.special = SpecialTokens::literal;
    EncodeOptions start_only;
    start_only.dummy_prefix = DummyPrefix::start_only;

    for (const json& c : reference["cases"]) {
        SCOPED_TRACE(c["id"].get<std::string>());
        const auto text = c["text"].get<std::string>();
        const auto ids = c["ids"].get<Ids>();
        EXPECT_EQ(tokenizer.encode(text), ids);
        EXPECT_EQ(tokenizer.encode(text, literal), c.value("ids_plain", ids));
        EXPECT_EQ(tokenizer.encode(text, start_only), c.value("ids_nonlegacy", ids));
        if (c.contains("bytes_b64")) {
            EXPECT_EQ(tokenizer.encode(from_base64(c["bytes_b64"])), ids);
        }
    }
}

TEST_P(ReferenceTokenizer, Decodes) {
    FOLDER_OR_SKIP(folder, std::string("tokenizer/") + GetParam());
    const Tokenizer tokenizer = load_tokenizer(folder / "vocab.gguf");
    const json reference = load_json(folder / "cases.json");

    // sentencepiece leaves control tokens out; the others print them.
    const bool is_sentencepiece = reference["model"] == "llama";
    const auto control = is_sentencepiece ? Tokenizer::ControlTokens::skip : Tokenizer::ControlTokens::show;
    for (const json& c : reference["cases"]) {
        // sentencepiece prints " ⁇ " for <unk>; here it is a control token like others.
        if (is_sentencepiece && c["text"] == "<unk>") continue;
        const auto expected = c.value("decoded", c["text"].get<std::string>());
        EXPECT_EQ(tokenizer.decode(c["ids"].get<Ids>(), control), expected) << c["id"];
    }
}

TEST_P(ReferenceTokenizer, StreamsPieces) {
    FOLDER_OR_SKIP(folder, std::string("tokenizer/") + GetParam());
    const Tokenizer tokenizer = load_tokenizer(folder / "vocab.gguf");
    const json reference = load_json(folder / "cases.json");

    for (const json& c : reference["decode_cases"]) {
        SCOPED_TRACE(c["id"].get<std::string>());
        const auto ids = c["ids"].get<Ids>();
        Detokenizer detokenizer(tokenizer, Tokenizer::ControlTokens::skip, TextPosition::continuation);
        std::string bytes;
        std::string text;
        for (std::size_t i = 0; i < ids.size(); ++i) {
            EXPECT_EQ(tokenizer.piece(ids[i]), from_base64(c["pieces_b64"][i])) << ids[i];
            bytes += tokenizer.piece(ids[i]);
            const std::string part = detokenizer.push(ids[i]);
            EXPECT_TRUE(is_utf8(part));
            text += part;
        }
        text += detokenizer.finish();
        EXPECT_EQ(bytes, from_base64(c["bytes_b64"]));
        EXPECT_EQ(text, c["text_skip_control"].get<std::string>());
    }
    for (const json& c : reference["pieces"]) {
        const auto id = c["id"].get<TokenId>();
        const int type = c["type"];
        EXPECT_EQ(tokenizer.piece(id), from_base64(c["bytes_b64"])) << id;
        EXPECT_EQ(tokenizer.is_control(id), type == 2 || type == 3 || type == 5) << id;
    }
}

TEST_P(ReferenceTokenizer, KnowsItsSpecialIds) {
    FOLDER_OR_SKIP(folder, std::string("tokenizer/") + GetParam());
    const Tokenizer tokenizer = load_tokenizer(folder / "vocab.gguf");
    const json reference = load_json(folder / "cases.json");

    const auto id_of = [&](const char* key) -> std::optional<TokenId> {
        return reference.contains(key) ? std::optional<TokenId>(reference[key]) : std::nullopt;
    };
    EXPECT_EQ(tokenizer.size(), reference["n_tokens"].get<std::int32_t>());
    EXPECT_EQ(tokenizer.bos(), id_of("bos_id"));
    EXPECT_EQ(tokenizer.eos(), id_of("eos_id"));
    EXPECT_EQ(tokenizer.adds_bos(), reference.value("add_bos", false));
    EXPECT_FALSE(tokenizer.adds_eos());
    EXPECT_TRUE(tokenizer.is_end_of_generation(*tokenizer.eos()));

    const std::map<std::string, std::vector<std::string>> ends = {
        {"mixtral", {"</s>"}},
        {"qwen3", {"<|im_end|>", "<|endoftext|>"}},
        {"qwen35", {"<|im_end|>", "<|endoftext|>"}},
        {"gpt-oss", {"<|return|>", "<|call|>", "<|endoftext|>"}},
        {"llama4", {"<|eot|>", "<|eom|>", "<|end_of_text|>"}},
        {"deepseek-v3", {"<｜end▁of▁sentence｜>"}},
        {"kimi-k2", {"<|im_end|>", "[EOS]", "[EOT]"}},
    };
    for (TokenId id = 0; id < tokenizer.size(); ++id) {
        const auto& texts = ends.at(GetParam());
        const bool is_end = tokenizer.is_control(id) &&
                            std::find(texts.begin(), texts.end(), tokenizer.piece(id)) != texts.end();
        EXPECT_EQ(tokenizer.is_end_of_generation(id), is_end) << tokenizer.piece(id);
    }
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, ReferenceTokenizer,
                         testing::Values("mixtral", "qwen3", "qwen35", "gpt-oss", "llama4", "deepseek-v3",
                                         "kimi-k2"),
                         name_of);

// oracle/NAME: the tokenizers of tiny models, with tokenizer_cases.json.
class OracleModelTokenizer : public testing::TestWithParam<const char*> {};

TEST_P(OracleModelTokenizer, Encodes) {
    FOLDER_OR_SKIP(folder, std::string("oracle/") + GetParam());
    std::filesystem::path model;
    for (const auto& entry : std::filesystem::directory_iterator(folder))
        if (entry.path().extension() == ".gguf") model = entry.path();
    const Tokenizer tokenizer = load_tokenizer(model);
    for (const json& c : load_json(folder / "tokenizer_cases.json"))
        EXPECT_EQ(tokenizer.encode(c["text"].get<std::string>()), c["ids"].get<Ids>()) << c["text"];
}

INSTANTIATE_TEST_SUITE_P(Models, OracleModelTokenizer,
                         testing::Values("mini/deepseek2", "mini/deepseek2-lite", "mini/deepseek32",
                                         "mini/glm4moe", "mini/gpt-oss", "mini/granitemoe", "mini/kimi-k2",
                                         "mini/llama4", "mini/llama4-128e", "mini/mixtral", "mini/olmoe",
                                         "mini/qwen2moe", "mini/qwen35moe", "mini/qwen3moe", "mini/qwen3next",
                                         "deepseek2", "gpt-oss", "llama4", "mixtral", "qwen3moe"),
                         name_of);

// Prompts as chat templates render them: control tokens are parsed, the BOS stands in the text.
TEST(RenderedPrompts, TokenizeAsTheVendorsDo) {
    FOLDER_OR_SKIP(chat, "chat");
    FOLDER_OR_SKIP(vocabularies, "tokenizer/qwen3");
    EncodeOptions options;
    options.dummy_prefix = DummyPrefix::start_only;

    std::map<std::string, Tokenizer> tokenizers;
    const auto tokenizer_of = [&](const std::string& name) -> const Tokenizer& {
        auto found = tokenizers.find(name);
        if (found == tokenizers.end()) {
            const auto path = vocabularies.parent_path() / name / "vocab.gguf";
            found = tokenizers.emplace(name, load_tokenizer(path)).first;
        }
        return found->second;
    };

    const json reference = load_json(chat / "e2e.cases.json");
    for (const json& c : reference["cases"]) {
        const json rendered = load_json(chat / (c["template"].get<std::string>() + ".cases.json"));
        for (const json& r : rendered["cases"]) {
            if (r["id"] != c["case"]) continue;
            EXPECT_EQ(tokenizer_of(c["tokenizer"]).encode(r["expected"].get<std::string>(), options),
                      c.value("ids_nonlegacy", c["ids"].get<Ids>()))
                << c["template"] << " " << c["case"];
        }
    }

    for (const json& c : reference["mistral_common_v1"]) {
        auto text = c["text"].get<std::string>();  // with byte tokens as they are spelled
        for (std::size_t at = 0; (at = text.find("<0x0A>")) != std::string::npos;) text.replace(at, 6, "\n");
        EXPECT_EQ(tokenizer_of("mixtral").encode(text, options), c["ids"].get<Ids>()) << c["id"];
    }
}

}  // namespace
}  // namespace greenroom::text
