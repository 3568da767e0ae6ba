// The deepseek2 architecture (DeepSeek V2/V3, Kimi K2) against the reference implementation: transformers in
// float32, on the same weights. Tolerances are those of the reference data: logits and hidden states within
// 1e-3, KL below 1e-6 at every position, the same experts, the same greedy tokens.

#include "tests/runtime/oracle_model.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace greenroom::test {
namespace {

constexpr double kMaxLogitDifference = 1e-3;
constexpr double kMaxKl = 1e-6;
constexpr double kMaxHiddenDifference = 1e-3;
constexpr double kMaxRouterWeightDifference = 1e-4;

std::unique_ptr<runtime::Engine> load(const OracleModel& oracle, const std::string& file = "model-bf16.gguf",
                                      int n_threads = 2) {
    return runtime::Engine::load((oracle.folder / file).string(), {n_threads, {}});
}

void expect_logits(const OracleModel& oracle, const runtime::Engine& engine, const std::string& prompt,
                   const std::string& reference_prefix) {
    const auto tokens = oracle.ids("tokens_" + prompt);
    const auto reference = oracle.floats(reference_prefix + prompt);
    const auto ours = all_logits(engine, tokens.values, 512);
    EXPECT_LE(max_abs_difference(reference.values, ours), kMaxLogitDifference)
        << oracle.folder << " " << prompt;
    EXPECT_LE(max_kl(reference.values, ours, static_cast<std::size_t>(reference.dim(1))), kMaxKl)
        << oracle.folder << " " << prompt;
}

void expect_hidden_and_router(const OracleModel& oracle, const runtime::Engine& engine) {
    Recorder recorder;
    const auto tokens = oracle.ids("tokens_p1");
    all_logits(engine, tokens.values, 7, &recorder);

    const auto hidden = oracle.floats("hidden_p1");
    const std::int64_t n_values = hidden.dim(1) * hidden.dim(2);
    ASSERT_EQ(static_cast<std::int64_t>(recorder.hidden().size()), hidden.dim(0));
    for (const auto& [layer, ours] : recorder.hidden()) {
        const auto reference = std::span(hidden.values)
                                   .subspan(static_cast<std::size_t>((layer + 1) * n_values),
                                            static_cast<std::size_t>(n_values));
        EXPECT_LE(max_abs_difference(reference, ours), kMaxHiddenDifference)
            << oracle.folder << " layer " << layer;
    }

    const auto layers = oracle.ids("router_layers");
    const auto ids = oracle.ids("router_ids_p1");
    const auto weights = oracle.floats("router_weights_p1");
    ASSERT_EQ(recorder.choices().size(), layers.values.size());
    const auto top_k = static_cast<std::size_t>(ids.dim(2));
    std::size_t at = 0;
    for (const std::int32_t layer : layers.values) {
        const Recorder::Choice& choice = recorder.choices().at(layer);
        for (std::size_t t = 0; t < choice.experts.size(); t += top_k, at += top_k) {
            std::map<std::int32_t, float> expected;
            std::map<std::int32_t, float> found;
            for (std::size_t k = 0; k < top_k; ++k) {
                expected[ids.values[at + k]] = weights.values[at + k];
                found[choice.experts[t + k]] = choice.weights[t + k];
            }
            ASSERT_EQ(found.size(), top_k) << "an expert was chosen twice";
            for (const auto& [expert, weight] : expected) {
                ASSERT_TRUE(found.contains(expert))
                    << oracle.folder << " layer " << layer << " token " << t / top_k;
                EXPECT_NEAR(found[expert], weight, kMaxRouterWeightDifference);
            }
        }
    }
}

void expect_greedy(const OracleModel& oracle, const runtime::Engine& engine, const std::string& prompt) {
    const auto tokens = oracle.ids("tokens_" + prompt);
    const auto greedy = oracle.ids("greedy_" + prompt);
    const auto n_all = static_cast<std::int64_t>(tokens.values.size() + greedy.values.size());
    runtime::Session session(engine, {std::min(n_all, engine.spec().context_length), 512});
    session.evaluate(tokens.values);
    std::vector<std::int32_t> ours;
    while (ours.size() < greedy.values.size()) {
        const auto logits = session.logits();
        ours.push_back(
            static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
        session.evaluate({&ours.back(), 1});
    }
    EXPECT_EQ(ours, greedy.values) << oracle.folder << " " << prompt;
}

class DeepseekMini : public testing::TestWithParam<const char*> {
  protected:
    OracleModel oracle() const { return {test_data(std::string("oracle/mini/") + GetParam())}; }
};

TEST_P(DeepseekMini, LogitsAreTheReferencesAtEveryPosition) {
    const auto engine = load(oracle());
    for (const char* prompt : {"p0", "p1", "p2"}) expect_logits(oracle(), *engine, prompt, "logits_");
}

TEST_P(DeepseekMini, HiddenStatesAndRouterChoicesAreTheReferences) {
    const auto engine = load(oracle());
    expect_hidden_and_router(oracle(), *engine);
}

TEST_P(DeepseekMini, GreedyContinuationIsTheReferences) {
    const auto engine = load(oracle());
    for (const char* prompt : {"p1", "p2"}) expect_greedy(oracle(), *engine, prompt);
}

TEST_P(DeepseekMini, AnyChunkingOfThePrefillGivesTheSameBits) {
    const auto engine = load(oracle());
    const auto tokens = oracle().ids("tokens_p2");
    const auto whole = all_logits(*engine, tokens.values, 512);
    for (const std::int64_t batch : {1, 3, 8, 33})
        EXPECT_EQ(all_logits(*engine, tokens.values, batch), whole) << batch;
}

TEST_P(DeepseekMini, AnyNumberOfThreadsGivesTheSameBits) {
    const auto tokens = oracle().ids("tokens_p1");
    const auto one = load(oracle(), "model-bf16.gguf", 1);
    const auto expected = all_logits(*one, tokens.values, 16);
    for (const int n_threads : {2, 5}) {
        const auto several = load(oracle(), "model-bf16.gguf", n_threads);
        EXPECT_EQ(all_logits(*several, tokens.values, 16), expected) << n_threads << " threads";
    }
}

INSTANTIATE_TEST_SUITE_P(Deepseek2, DeepseekMini, testing::Values("deepseek2", "kimi-k2", "deepseek2-lite"),
                         [](const auto& param) {
                             std::string name = param.param;
                             std::replace(name.begin(), name.end(), '-', '_');
                             return name;
                         });

TEST(DeepseekWide, Bf16ModelIsTheReference) {
    GREENROOM_ORACLE_OR_SKIP(folder, "oracle/deepseek2");
    const OracleModel oracle{folder};
    const auto engine = load(oracle);
    for (const char* prompt : {"p0", "p1", "p2"}) expect_logits(oracle, *engine, prompt, "logits_");
    expect_hidden_and_router(oracle, *engine);
    for (const char* prompt : {"p1", "p2"}) expect_greedy(oracle, *engine, prompt);
}

TEST(DeepseekWide, Q4KMModelIsTheReferenceOnItsDecodedWeights) {
    GREENROOM_ORACLE_OR_SKIP(folder, "oracle/deepseek2");
    const OracleModel oracle{folder};
    const auto engine = load(oracle, "model-q4_k_m.gguf");
    for (const char* prompt : {"p1", "p2"}) expect_logits(oracle, *engine, prompt, "logits_q4_k_m_");
}

}  // namespace
}  // namespace greenroom::test
