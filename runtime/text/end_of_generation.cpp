#include "runtime/text/end_of_generation.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace greenroom::text {
namespace {

constexpr std::string_view kHarmonyEnd = "<|end|>";

constexpr std::array<std::string_view, 19> kEndTexts = {
    "<|im_end|>",             // ChatML: Qwen; Kimi
    "<|endoftext|>",          // GPT-2, Qwen, OLMo, GLM
    "<|eot_id|>",             // Llama 3
    "<|eom_id|>",             // Llama 3, before a tool's answer
    "<|eot|>",                // Llama 4
    "<|eom|>",                // Llama 4
    "<|end_of_text|>",        // Llama 3 and 4, Granite
    "<|return|>",             // gpt-oss: the final answer is complete
    "<|call|>",               // gpt-oss: a tool call is complete
    kHarmonyEnd,              // Phi; in gpt-oss, see below
    "<｜end▁of▁sentence｜>",  // DeepSeek
    "[EOS]",                  // Kimi
    "[EOT]",                  // Kimi
    "</s>",                   // Llama 2, Mistral
    "<eos>",                  // Gemma
    "<end_of_turn>",          // Gemma
    "<EOT>",                  // CodeLlama
    "_<EOT>",                 // the same, as some converters wrote it
    "[e~[",                   // MiniMax
};

}  // namespace

std::vector<TokenId> end_of_generation_tokens(const Vocabulary& vocabulary) {
    std::vector<TokenId> ends;
    for (const auto& id : {vocabulary.eos, vocabulary.eot, vocabulary.eom})
        if (id) ends.push_back(*id);

    bool has_return = false;
    bool has_call = false;
    for (TokenId id = 0; id < vocabulary.size(); ++id) {
        // Only tokens that are set apart: "</s>" is plain text of Qwen's vocabulary.
        const TokenType type = vocabulary.types[static_cast<std::size_t>(id)];
        if (type != TokenType::control && type != TokenType::user_defined) continue;
        const std::string_view text = vocabulary.tokens[static_cast<std::size_t>(id)];
        has_return |= text == "<|return|>";
        has_call |= text == "<|call|>";
        if (std::find(kEndTexts.begin(), kEndTexts.end(), text) != kEndTexts.end()) ends.push_back(id);
    }

    // In gpt-oss's format <|end|> ends a message, and the next one of the same answer follows.
    if (has_return && has_call) {
        std::erase_if(
            ends, [&](TokenId id) { return vocabulary.tokens[static_cast<std::size_t>(id)] == kHarmonyEnd; });
    }
    std::sort(ends.begin(), ends.end());
    ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
    return ends;
}

}  // namespace greenroom::text
