// Every architecture against the reference implementation (families.h).

#include "tests/runtime/families.h"

#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <string>

namespace greenroom::test {
namespace {

std::unique_ptr<runtime::Engine> load(const OracleModel& oracle, const std::string& file, int n_threads = 2) {
    return runtime::Engine::load((oracle.folder / file).string(), {n_threads, {}});
}

class MiniLogits : public testing::TestWithParam<Family> {
  protected:
    OracleModel oracle() const { return oracle_of(GetParam()); }
    std::unique_ptr<runtime::Engine> engine(int n_threads = 2) const {
        return load(oracle(), GetParam().file, n_threads);
    }
};

// What has hidden states, router choices and greedy tokens, too.
class MiniDumps : public MiniLogits {};

TEST_P(MiniLogits, LogitsAreTheReferencesAtEveryPosition) {
    const auto model = engine();
    for (const char* prompt : {"p0", "p1", "p2"})
        expect_logits(oracle(), *model, prompt, GetParam().logits, GetParam().max_difference);
}

TEST_P(MiniDumps, HiddenStatesAndRouterChoicesAreTheReferences) {
    expect_hidden_and_router(oracle(), *engine());
}

TEST_P(MiniDumps, GreedyContinuationIsTheReferences) {
    const auto model = engine();
    for (const char* prompt : {"p1", "p2"}) expect_greedy(oracle(), *model, prompt);
}

TEST_P(MiniLogits, AnyChunkingOfThePrefillGivesTheSameBits) {
    const auto model = engine();
    const auto tokens = oracle().ids("tokens_p2");
    const auto whole = all_logits(*model, tokens.values, 512);
    for (const std::int64_t batch : {1, 3, 8, 33})
        EXPECT_EQ(all_logits(*model, tokens.values, batch), whole) << batch;
}

TEST_P(MiniLogits, AnyNumberOfThreadsGivesTheSameBits) {
    const auto tokens = oracle().ids("tokens_p1");
    const auto expected = all_logits(*engine(1), tokens.values, 16);
    for (const int n_threads : {2, 5})
        EXPECT_EQ(all_logits(*engine(n_threads), tokens.values, 16), expected) << n_threads << " threads";
}

constexpr auto test_name = [](const auto& param) { return family_name(param.param); };

INSTANTIATE_TEST_SUITE_P(Family, MiniLogits, testing::ValuesIn(kFamilies), test_name);
INSTANTIATE_TEST_SUITE_P(GptOss, MiniLogits, testing::Values(kGptOss), test_name);
INSTANTIATE_TEST_SUITE_P(Family, MiniDumps, testing::ValuesIn(kFamilies), test_name);

// The wider models, where they are at hand: K-quants apply, prompts are longer.
struct WideFile {
    const char* folder;
    const char* file;
    const char* logits;
    bool has_p0;
};

constexpr WideFile kWideFiles[] = {
    {"deepseek2", "model-bf16.gguf", "logits_", true},
    {"deepseek2", "model-q4_k_m.gguf", "logits_q4_k_m_", false},
    {"gpt-oss", "model-mxfp4.gguf", "logits_yarn_truncate_false_", true},
    {"llama4", "model-bf16.gguf", "logits_", true},
    {"mixtral", "model-f16.gguf", "logits_", true},
    {"qwen3moe", "model-bf16.gguf", "logits_", true},
    {"qwen3moe", "model-q8_0.gguf", "logits_q8_0_", false},
    {"qwen3moe", "model-q4_k_m.gguf", "logits_q4_k_m_", false},
    {"qwen3moe", "model-q2_k.gguf", "logits_q2_k_", false},
};

void PrintTo(const WideFile& wide, std::ostream* out) { *out << wide.folder << '/' << wide.file; }

class WideOracle : public testing::TestWithParam<WideFile> {};

TEST_P(WideOracle, LogitsAreTheReferencesOnTheDecodedWeights) {
    GREENROOM_ORACLE_OR_SKIP(path, std::string("oracle/") + GetParam().folder + "/" + GetParam().file);
    const OracleModel oracle{path.parent_path()};
    const auto engine = load(oracle, GetParam().file);
    if (GetParam().has_p0) expect_logits(oracle, *engine, "p0", GetParam().logits);
    for (const char* prompt : {"p1", "p2"}) expect_logits(oracle, *engine, prompt, GetParam().logits);
}

INSTANTIATE_TEST_SUITE_P(File, WideOracle, testing::ValuesIn(kWideFiles), [](const auto& param) {
    std::string name = std::string(param.param.folder) + "_" + param.param.file;
    std::replace_if(
        name.begin(), name.end(), [](char c) { return c == '-' || c == '.'; }, '_');
    return name;
});

}  // namespace
}  // namespace greenroom::test
