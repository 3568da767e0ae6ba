#pragma once

// The tiny checkpoints of all architectures (tests/data/oracle/mini) and how their outputs are compared with
// the reference implementation's: transformers in float32, on the same weights. Tolerances are those of the
// reference data: logits and hidden states within 1e-3, KL below 1e-6 at every position, the same experts,
// the same greedy tokens.

#include "runtime/engine.h"
#include "runtime/session.h"
#include "tests/runtime/oracle_model.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <ostream>
#include <span>
#include <string>
#include <vector>

namespace greenroom::test {

inline constexpr double kMaxLogitDifference = 1e-3;
// The recurrence and the gated norm of these enlarge rounding errors.
inline constexpr double kMaxRecurrentLogitDifference = 1e-2;
inline constexpr double kMaxKl = 1e-6;
inline constexpr double kMaxHiddenDifference = 1e-3;
inline constexpr double kMaxRouterWeightDifference = 1e-4;

inline void expect_logits(const OracleModel& oracle, const runtime::Engine& engine, const std::string& prompt,
                          const std::string& reference_prefix, double max_difference = kMaxLogitDifference) {
    const auto tokens = oracle.ids("tokens_" + prompt);
    const auto reference = oracle.floats(reference_prefix + prompt);
    const auto ours = all_logits(engine, tokens.values, 512);
    const double difference = max_abs_difference(reference.values, ours);
    testing::Test::RecordProperty("logit_difference_" + prompt, std::to_string(difference));
    EXPECT_LE(difference, max_difference) << oracle.folder << " " << prompt;
    EXPECT_LE(max_kl(reference.values, ours, static_cast<std::size_t>(reference.dim(1))), kMaxKl)
        << oracle.folder << " " << prompt;
}

inline void expect_hidden_and_router(const OracleModel& oracle, const runtime::Engine& engine) {
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

inline void expect_greedy(const OracleModel& oracle, const runtime::Engine& engine,
                          const std::string& prompt) {
    const auto tokens = oracle.ids("tokens_" + prompt);
    const auto greedy = oracle.ids("greedy_" + prompt);
    const auto n_all = static_cast<std::int64_t>(tokens.values.size() + greedy.values.size());
    runtime::Session session(engine, exact_session(std::min(n_all, engine.spec().context_length), 512));
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

// One tiny checkpoint.
struct Family {
    const char* folder;  // under tests/data/oracle/mini
    const char* file = "model-bf16.gguf";
    const char* logits = "logits_";  // prefix of the reference that we follow
    double max_difference = kMaxLogitDifference;
};

inline constexpr Family kFamilies[] = {
    {"deepseek2"},
    {"deepseek2-lite"},
    {"deepseek32"},
    {"glm4moe"},
    {"granitemoe"},
    {"kimi-k2"},
    {"llama4"},
    {"llama4-128e"},
    {"mixtral", "model-f16.gguf"},
    {"olmoe", "model-f32.gguf"},
    {"qwen2moe"},
    {"qwen35moe", "model-bf16.gguf", "logits_", kMaxRecurrentLogitDifference},
    {"qwen3moe"},
    {"qwen3next", "model-bf16.gguf", "logits_", kMaxRecurrentLogitDifference},
};

// As the original: YaRN's range is not rounded. For that there are logits only; hidden states, router and
// greedy tokens were made with the rounded range.
inline constexpr Family kGptOss = {"gpt-oss", "model-mxfp4.gguf", "logits_yarn_truncate_false_"};

inline void PrintTo(const Family& family, std::ostream* out) { *out << family.folder; }

inline OracleModel oracle_of(const Family& family) {
    return {test_data(std::string("oracle/mini/") + family.folder)};
}

// As the name of a test.
inline std::string family_name(const Family& family) {
    std::string name = family.folder;
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
}

}  // namespace greenroom::test
