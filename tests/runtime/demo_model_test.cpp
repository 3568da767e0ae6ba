// The demo model, trained for this project, on text that it has not seen: its perplexity is what the peer
// measures for the same file, and activations as integers change next to nothing.

#include "runtime/engine.h"
#include "runtime/perplexity.h"
#include "runtime/session.h"
#include "tests/runtime/oracle_model.h"
#include "tests/support/gguf_image.h"
#include "tests/support/paths.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::runtime {
namespace {

constexpr std::int64_t kContext = 512;

struct Reference {
    const char* text;
    double q4_k_m;  // llama-perplexity -c 512 on the same file
    double q8_0;
};

constexpr Reference kReferences[] = {
    {"kjv", 23.0537, 22.9644}, {"web", 24.0041, 23.9619}, {"es", 26.8298, 26.7180}, {"py", 48.1965, 48.0456}};

std::unique_ptr<Engine> load_q4_k_m() { return Engine::load(test::demo_model_file()); }

std::vector<text::TokenId> tokens_of(const Engine& engine, const std::filesystem::path& file) {
    const auto bytes = test::read_file(file);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    text::EncodeOptions options;
    options.add_bos_eos = text::AddBosEos::as_metadata;
    return engine.tokenizer().encode(text, options);
}

double perplexity_of(const Engine& engine, std::span<const text::TokenId> tokens, Activations activations) {
    Session session(engine, {kContext, kContext, activations});
    return measure_perplexity(session, engine.tokenizer(), tokens, kContext, -1, {}, {}).perplexity;
}

// With activations in float32 the difference to the peer is what its 8 bits do.
void expect_perplexity(const Engine& engine, const std::filesystem::path& text, double peer,
                       double tolerance) {
    const auto tokens = tokens_of(engine, text);
    const double f32 = perplexity_of(engine, tokens, Activations::f32);
    testing::Test::RecordProperty("f32", std::to_string(f32));
    EXPECT_NEAR(f32, peer, tolerance * peer);
    for (const Activations kind : {Activations::int16, Activations::int8}) {
        const double found = perplexity_of(engine, tokens, kind);
        testing::Test::RecordProperty(activations_name(kind), std::to_string(found));
        EXPECT_NEAR(found, peer, tolerance * peer) << activations_name(kind);
        EXPECT_NEAR(found, f32, (kind == Activations::int16 ? 2e-4 : 1e-3) * f32) << activations_name(kind);
    }
}

struct Closeness {
    Activations activations;
    double mean_kl;  // at most
    double same;     // at least: share of positions with the same likeliest token
};

// Found: 15 bits 1e-7 to 3e-5 and 0.9990 to 1; 8 bits in experts 2.6e-4 to 5.2e-4 and 0.9893 to 0.9941.
constexpr Closeness kCloseness[] = {{Activations::int16, 1e-4, 0.998}, {Activations::int8, 1e-3, 0.985}};

// Logits after each token of the first chunks, both ways.
void expect_integers_to_matter_little(const Engine& engine, const std::filesystem::path& text,
                                      const Closeness& asked) {
    constexpr std::int64_t kChunks = 8;
    const auto tokens = tokens_of(engine, text);
    double kl = 0;
    std::int64_t n_same = 0;
    std::int64_t n = 0;
    for (std::int64_t chunk = 0; chunk < kChunks; ++chunk) {
        const auto part = std::span(tokens).subspan(static_cast<std::size_t>(chunk * kContext),
                                                    static_cast<std::size_t>(kContext));
        const auto f32 = test::all_logits(engine, part, kContext, nullptr, Activations::f32);
        const auto integers = test::all_logits(engine, part, kContext, nullptr, asked.activations);
        const auto n_vocab = static_cast<std::size_t>(engine.spec().n_vocab);
        for (std::size_t at = 0; at < f32.size(); at += n_vocab, ++n) {
            const auto exact = std::span(f32).subspan(at, n_vocab);
            const auto ours = std::span(integers).subspan(at, n_vocab);
            kl += test::kl_divergence(exact, ours);
            n_same += std::max_element(exact.begin(), exact.end()) - exact.begin() ==
                      std::max_element(ours.begin(), ours.end()) - ours.begin();
        }
    }
    const double mean_kl = kl / static_cast<double>(n);
    const double same = static_cast<double>(n_same) / static_cast<double>(n);
    const std::string kind = activations_name(asked.activations);
    testing::Test::RecordProperty(kind + "_mean_kl", fmt::format("{:.2e}", mean_kl));
    testing::Test::RecordProperty(kind + "_same_top_1", std::to_string(same));
    EXPECT_LE(mean_kl, asked.mean_kl) << kind;
    EXPECT_GE(same, asked.same) << kind;
}

class DemoModel : public testing::TestWithParam<Reference> {
  protected:
    const std::string text_file = std::string("model/val/val_") + GetParam().text + ".txt";
};

TEST_P(DemoModel, PerplexityOfQ4KMIsWithinHalfAPercentOfThePeers) {
    GREENROOM_ORACLE_OR_SKIP(text, text_file);
    expect_perplexity(*load_q4_k_m(), text, GetParam().q4_k_m, 0.005);
}

TEST_P(DemoModel, PerplexityOfQ80IsWithinATenthOfAPercentOfThePeers) {
    GREENROOM_ORACLE_OR_SKIP(text, text_file);
    GREENROOM_ORACLE_OR_SKIP(model, "model/tiny-moe-Q8_0.gguf");
    expect_perplexity(*Engine::load(model.string()), text, GetParam().q8_0, 0.001);
}

TEST_P(DemoModel, IntegerActivationsOfQ4KMMatterLittle) {
    GREENROOM_ORACLE_OR_SKIP(text, text_file);
    for (const Closeness& asked : kCloseness) expect_integers_to_matter_little(*load_q4_k_m(), text, asked);
}

TEST_P(DemoModel, IntegerActivationsOfQ80MatterLittle) {
    GREENROOM_ORACLE_OR_SKIP(text, text_file);
    GREENROOM_ORACLE_OR_SKIP(model, "model/tiny-moe-Q8_0.gguf");
    const auto engine = Engine::load(model.string());
    for (const Closeness& asked : kCloseness) expect_integers_to_matter_little(*engine, text, asked);
}

INSTANTIATE_TEST_SUITE_P(Text, DemoModel, testing::ValuesIn(kReferences),
                         [](const auto& param) { return std::string(param.param.text); });

}  // namespace
}  // namespace greenroom::runtime
