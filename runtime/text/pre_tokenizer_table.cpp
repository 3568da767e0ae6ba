#include "runtime/text/pre_tokenizer_table.h"

#include "quant/base/error.h"

#include <array>
#include <string>

namespace greenroom::text {
namespace {

// Where a vendor's pattern uses what PCRE2 lacks, the comment above gives the original.

constexpr std::string_view kDigit = R"(\p{N})";
constexpr std::string_view kUpToThreeDigits = R"(\p{N}{1,3})";

// GPT-2.
constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// cl100k_base and its children, which differ in how they cut numbers.
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Marks count as letters.
constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Ends of lines are never part of punctuation.
constexpr std::string_view kSeedCoder =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Ling: one end of a line at a time.
constexpr std::string_view kBailing =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*)"
    R"(|\s*[\r\n]|\s+(?!\S)|\s+)";

// o200k_base: a word is cut where lower case turns into upper case; contractions stay with their word.
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Mistral's Tekken: the same without contractions, digit by digit.
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// Kimi: Han characters are pieces of their own. The original intersects classes,
// [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]] and [\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]. General categories
// divide all characters, so each is the complement of the other categories and Han. PCRE2's bare \p{Han}
// would be Script_Extensions.
constexpr std::string_view kKimi =
    R"([\p{sc:Han}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[^\p{Ll}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{sc:Han}]*)"
    R"([^\p{Lu}\p{Lt}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{sc:Han}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[^\p{Ll}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{sc:Han}]+)"
    R"([^\p{Lu}\p{Lt}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{sc:Han}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// DeepSeek V3: CJK ideographs and kana, then words; one punctuation mark sticks to the ASCII letters after
// it.
constexpr std::string_view kDeepSeekCjk = R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";
constexpr std::string_view kDeepSeekWords =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// DeepSeek LLM, MoE and V2: letters with case as Unicode 11 listed them, then punctuation, then most other
// scripts.
constexpr std::string_view kLineEnd = R"([\r\n])";
constexpr std::string_view kDeepSeekLetters =
    R"(\s?[)"
    R"(A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293})"
    R"(\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386})"
    R"(\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F})"
    R"(\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA})"
    R"(\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A})"
    R"(\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D})"
    R"(\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4})"
    R"(\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3})"
    R"(\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107})"
    R"(\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D})"
    R"(\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184})"
    R"(\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D})"
    R"(\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E})"
    R"(\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A})"
    R"(\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB})"
    R"(\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943})"
    R"(]+)";
constexpr std::string_view kDeepSeekPunctuation =
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)";
// The original is \s+$ after line ends are gone. The rest spares trying, and failing, from every space of a
// long run.
constexpr std::string_view kTrailingSpace = R"((?<!\s)\s++\z)";
constexpr std::string_view kDeepSeekOtherScripts = R"([\x{800}-\x{9FA5}\x{AC00}-\x{D7FF}]+)";

// DeepSeek Coder.
constexpr std::string_view kSpaceAndLetters = R"(\s?\p{L}+)";
constexpr std::string_view kSpaceAndPunctuation = R"(\s?\p{P}+)";

// What llama.cpp does for files that name no pre-tokenizer; no model's own.
constexpr std::string_view kDefaultPunctuation = R"([\p{P}\$\+<=>\^~\|]+)";
constexpr std::string_view kDigits = R"(\p{N}+)";
constexpr std::string_view kThreeAsciiDigits = R"([0-9][0-9][0-9])";

constexpr std::array kDefaultSteps = {kDefaultPunctuation, kGpt2, kDigits, kThreeAsciiDigits};
constexpr std::array kGpt2Steps = {kGpt2};
constexpr std::array kDigitsGpt2Steps = {kDigit, kGpt2};
constexpr std::array kLlama3Steps = {kLlama3};
constexpr std::array kQwen2Steps = {kQwen2};
constexpr std::array kQwen35Steps = {kQwen35};
constexpr std::array kSeedCoderSteps = {kSeedCoder};
constexpr std::array kBailingSteps = {kBailing};
constexpr std::array kGpt4oSteps = {kGpt4o};
constexpr std::array kTekkenSteps = {kTekken};
constexpr std::array kKimiSteps = {kKimi};
constexpr std::array kDeepSeekV3Steps = {kUpToThreeDigits, kDeepSeekCjk, kDeepSeekWords};
constexpr std::array kDeepSeekLlmSteps = {kLineEnd,       kDeepSeekLetters,      kDeepSeekPunctuation,
                                          kTrailingSpace, kDeepSeekOtherScripts, kDigit};
constexpr std::array kDeepSeekCoderSteps = {kLineEnd, kSpaceAndLetters, kSpaceAndPunctuation,
                                            kDeepSeekOtherScripts, kDigit};

constexpr PreTokenizerRule kRules[] = {
    {.name = "default", .patterns = kDefaultSteps},
    {.name = "gpt-2", .patterns = kGpt2Steps},
    {.name = "olmo", .patterns = kGpt2Steps, .to_nfc = true},
    {.name = "refact", .patterns = kDigitsGpt2Steps},  // also Granite
    {.name = "starcoder", .patterns = kDigitsGpt2Steps},
    {.name = "smollm", .patterns = kDigitsGpt2Steps},
    {.name = "command-r", .patterns = kDigitsGpt2Steps, .to_nfc = true},
    {.name = "dbrx", .patterns = kLlama3Steps, .whole_piece_first = true},
    {.name = "llama3", .patterns = kLlama3Steps, .whole_piece_first = true, .adds_bos = true},
    {.name = "llama-v3", .patterns = kLlama3Steps, .whole_piece_first = true, .adds_bos = true},
    {.name = "llama-bpe", .patterns = kLlama3Steps, .whole_piece_first = true, .adds_bos = true},
    {.name = "chatglm-bpe", .patterns = kLlama3Steps, .whole_piece_first = true},
    {.name = "glm4", .patterns = kLlama3Steps, .whole_piece_first = true},
    {.name = "glm5", .patterns = kLlama3Steps, .whole_piece_first = true},
    {.name = "qwen2", .patterns = kQwen2Steps, .to_nfc = true, .whole_piece_first = true},
    {.name = "qwen35", .patterns = kQwen35Steps, .to_nfc = true, .whole_piece_first = true},
    {.name = "hunyuan", .patterns = kQwen2Steps, .whole_piece_first = true},
    {.name = "grok-2", .patterns = kQwen2Steps, .whole_piece_first = true},
    {.name = "seed-coder", .patterns = kSeedCoderSteps},
    {.name = "bailingmoe", .patterns = kBailingSteps},
    {.name = "bailingmoe2", .patterns = kBailingSteps},
    {.name = "gpt-4o", .patterns = kGpt4oSteps, .whole_piece_first = true},
    {.name = "llama4", .patterns = kGpt4oSteps, .whole_piece_first = true},
    {.name = "minimax-m2", .patterns = kGpt4oSteps},
    {.name = "tekken", .patterns = kTekkenSteps, .whole_piece_first = true, .adds_bos = true},
    {.name = "kimi-k2", .patterns = kKimiSteps, .whole_piece_first = true},
    {.name = "deepseek-llm", .patterns = kDeepSeekLlmSteps},
    {.name = "deepseek-coder", .patterns = kDeepSeekCoderSteps},
    {.name = "deepseek-v3", .patterns = kDeepSeekV3Steps},
    {.name = "joyai-llm", .patterns = kDeepSeekV3Steps},  // also DeepSeek V4
    {.name = "hunyuan-dense", .patterns = kDeepSeekV3Steps},
};

}  // namespace

std::span<const PreTokenizerRule> pre_tokenizer_rules() noexcept { return kRules; }

const PreTokenizerRule& find_pre_tokenizer(std::string_view name, std::string_view file) {
    std::string known;
    for (const PreTokenizerRule& rule : kRules) {
        if (rule.name == name) return rule;
        known.append(known.empty() ? "" : ", ").append(rule.name);
    }
    fail(ErrorKind::unsupported,
         "{}: tokenizer.ggml.pre is \"{}\"; known are {}. This model's text cannot be split into tokens.",
         file, name, known);
}

}  // namespace greenroom::text
