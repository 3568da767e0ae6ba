#include "runtime/text/vocabulary.h"

#include "quant/base/error.h"
#include "quant/base/log.h"
#include "runtime/text/pre_tokenizer_table.h"

#include <cmath>
#include <limits>

namespace greenroom::text {
namespace {

using quant::Gguf;
using quant::GgufArray;
using quant::GgufType;

constexpr std::string_view kModel = "tokenizer.ggml.model";
constexpr std::string_view kPre = "tokenizer.ggml.pre";
constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
constexpr std::string_view kTypes = "tokenizer.ggml.token_type";
constexpr std::string_view kScores = "tokenizer.ggml.scores";
constexpr std::string_view kMerges = "tokenizer.ggml.merges";
constexpr std::string_view kBos = "tokenizer.ggml.bos_token_id";
constexpr std::string_view kEos = "tokenizer.ggml.eos_token_id";
constexpr std::string_view kEot = "tokenizer.ggml.eot_token_id";
constexpr std::string_view kEom = "tokenizer.ggml.eom_token_id";
constexpr std::string_view kAddBos = "tokenizer.ggml.add_bos_token";
constexpr std::string_view kAddEos = "tokenizer.ggml.add_eos_token";
constexpr std::string_view kAddSpacePrefix = "tokenizer.ggml.add_space_prefix";

TokenizerModel read_model(const Gguf& gguf) {
    const std::string_view model = gguf.require_string(kModel);
    if (model == "gpt2") return TokenizerModel::byte_level_bpe;
    if (model == "llama") return TokenizerModel::sentencepiece;
    fail(ErrorKind::unsupported,
         "{}: {} is \"{}\"; supported are gpt2 (byte-level BPE) and llama (SentencePiece BPE). "
         "This model cannot be run.",
         gguf.path(), kModel, model);
}

const GgufArray& require_array(const Gguf& gguf, std::string_view key, std::string_view what) {
    const GgufArray* array = gguf.find_array(key);
    if (array == nullptr) {
        fail(ErrorKind::bad_input, "{}: {} is missing; this tokenizer needs {}. Convert the model again.",
             gguf.path(), key, what);
    }
    return *array;
}

void expect_one_per_token(const Gguf& gguf, std::string_view key, const GgufArray& array,
                          std::size_t n_tokens) {
    if (array.size() != n_tokens) {
        fail(ErrorKind::bad_input,
             "{}: {} has {} entries and {} has {}; they must be as many. Convert the model again.",
             gguf.path(), key, array.size(), kTokens, n_tokens);
    }
}

std::vector<std::string_view> read_strings(const Gguf& gguf, std::string_view key, const GgufArray& array) {
    if (array.element_type() != GgufType::string) {
        fail(ErrorKind::bad_input, "{}: {} is an array of {}; it must hold strings. Convert the model again.",
             gguf.path(), key, quant::gguf_type_name(array.element_type()));
    }
    std::vector<std::string_view> strings;
    strings.reserve(array.size());
    for (std::size_t i = 0; i < array.size(); ++i) strings.push_back(*array[i].as_string());
    return strings;
}

std::vector<std::string_view> read_tokens(const Gguf& gguf) {
    std::vector<std::string_view> tokens =
        read_strings(gguf, kTokens, require_array(gguf, kTokens, "the texts of its tokens"));
    constexpr auto kMaxTokens = static_cast<std::size_t>(std::numeric_limits<TokenId>::max());
    if (tokens.empty() || tokens.size() > kMaxTokens) {
        fail(ErrorKind::bad_input,
             "{}: {} has {} entries; a vocabulary has 1 to {}. Convert the model again.", gguf.path(),
             kTokens, tokens.size(), kMaxTokens);
    }
    return tokens;
}

std::vector<TokenType> read_types(const Gguf& gguf, std::size_t n_tokens) {
    const GgufArray* array = gguf.find_array(kTypes);
    if (array == nullptr) return std::vector<TokenType>(n_tokens, TokenType::normal);
    expect_one_per_token(gguf, kTypes, *array, n_tokens);
    std::vector<TokenType> types;
    types.reserve(n_tokens);
    for (std::size_t i = 0; i < n_tokens; ++i) {
        const auto number = (*array)[i].as_int();
        if (!number || *number < 0 || *number > static_cast<int>(TokenType::byte)) {
            fail(ErrorKind::bad_input,
                 "{}: {}[{}] is {}; token types are the numbers 0 to 6. Convert the model again.",
                 gguf.path(), kTypes, i, number ? std::to_string(*number) : "no integer");
        }
        types.push_back(static_cast<TokenType>(*number));
    }
    return types;
}

std::vector<float> read_scores(const Gguf& gguf, std::size_t n_tokens) {
    const GgufArray& array = require_array(gguf, kScores, "the scores that order its merges");
    expect_one_per_token(gguf, kScores, array, n_tokens);
    std::vector<float> scores;
    scores.reserve(n_tokens);
    for (std::size_t i = 0; i < n_tokens; ++i) {
        const auto score = array[i].as_double();
        if (!score || !std::isfinite(*score)) {
            fail(ErrorKind::bad_input,
                 "{}: {}[{}] is {}; a score is a finite number. Convert the model again.", gguf.path(),
                 kScores, i, score ? std::to_string(*score) : "no number");
        }
        scores.push_back(static_cast<float>(*score));
    }
    return scores;
}

std::vector<Merge> read_merges(const Gguf& gguf) {
    const GgufArray& array = require_array(gguf, kMerges, "the list of its merges");
    std::vector<Merge> merges;
    merges.reserve(array.size());
    for (const std::string_view text : read_strings(gguf, kMerges, array)) {
        const std::size_t space = text.find(' ');
        const bool one_space = space != std::string_view::npos && space == text.rfind(' ');
        if (!one_space || space == 0 || space + 1 == text.size()) {
            fail(ErrorKind::bad_input,
                 "{}: {}[{}] is \"{}\"; a merge is two tokens with one space between. "
                 "Convert the model again.",
                 gguf.path(), kMerges, merges.size(), text);
        }
        merges.push_back({text.substr(0, space), text.substr(space + 1)});
    }
    return merges;
}

std::optional<TokenId> read_id(const Gguf& gguf, std::string_view key, std::size_t n_tokens) {
    const auto id = gguf.find_uint(key);
    if (!id) return std::nullopt;
    if (*id >= n_tokens) {
        fail(ErrorKind::bad_input,
             "{}: {} is {}; the vocabulary has {} tokens, so ids are below that. Convert the model again.",
             gguf.path(), key, *id, n_tokens);
    }
    return static_cast<TokenId>(*id);
}

// Whether an end of the text gets its token; `by_default` where the file is silent.
bool read_adds(const Gguf& gguf, std::string_view key, std::string_view id_key, std::optional<TokenId> id,
               bool by_default) {
    const auto says = gguf.find_bool(key);
    if (says.value_or(false) && !id) {
        fail(ErrorKind::bad_input, "{}: {} is true, but {} is missing. Convert the model again.", gguf.path(),
             key, id_key);
    }
    return says.value_or(by_default && id.has_value());
}

}  // namespace

Vocabulary read_vocabulary(const Gguf& gguf) {
    Vocabulary v;
    v.file = gguf.path();
    v.model = read_model(gguf);
    v.tokens = read_tokens(gguf);
    v.types = read_types(gguf, v.tokens.size());
    v.bos = read_id(gguf, kBos, v.tokens.size());
    v.eos = read_id(gguf, kEos, v.tokens.size());
    v.eot = read_id(gguf, kEot, v.tokens.size());
    v.eom = read_id(gguf, kEom, v.tokens.size());

    if (v.model == TokenizerModel::sentencepiece) {
        v.scores = read_scores(gguf, v.tokens.size());
        // The ids that sentencepiece itself gives <s> and </s>, for files that don't say.
        if (!v.bos && v.tokens.size() > 1) v.bos = 1;
        if (!v.eos && v.tokens.size() > 2) v.eos = 2;
        v.adds_bos = read_adds(gguf, kAddBos, kBos, v.bos, true);
        v.adds_space_prefix = gguf.find_bool(kAddSpacePrefix).value_or(true);
    } else {
        v.merges = read_merges(gguf);
        v.pre = gguf.find_string(kPre).value_or("");
        if (v.pre.empty()) {
            log_warning(
                "{}: {} is missing; text is split by the default rule, which is likely not the model's",
                gguf.path(), kPre);
            v.pre = "default";
        }
        v.adds_bos = read_adds(gguf, kAddBos, kBos, v.bos, find_pre_tokenizer(v.pre, v.file).adds_bos);
    }
    v.adds_eos = read_adds(gguf, kAddEos, kEos, v.eos, false);
    return v;
}

}  // namespace greenroom::text
