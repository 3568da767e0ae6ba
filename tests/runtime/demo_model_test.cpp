// The demo model, trained for this project: its perplexity is what the peer measures for the same file.

#include "runtime/engine.h"
#include "runtime/perplexity.h"
#include "runtime/session.h"
#include "tests/support/gguf_image.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace greenroom::runtime {
namespace {

struct Reference {
    const char* text;
    double q4_k_m;  // llama-perplexity -c 512 on the same file
    double q8_0;
};

constexpr Reference kReferences[] = {
    {"kjv", 23.0537, 22.9644}, {"web", 24.0041, 23.9619}, {"es", 26.8298, 26.7180}, {"py", 48.1965, 48.0456}};

double perplexity_of(const Engine& engine, const std::filesystem::path& file) {
    const auto bytes = test::read_file(file);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    text::EncodeOptions options;
    options.add_bos_eos = text::AddBosEos::as_metadata;
    const auto tokens = engine.tokenizer().encode(text, options);
    constexpr std::int64_t kContext = 512;
    Session session(engine, {kContext, kContext, Activations::f32});
    return measure_perplexity(session, engine.tokenizer(), tokens, kContext, -1, {}, {}).perplexity;
}

class DemoModel : public testing::TestWithParam<Reference> {};

TEST_P(DemoModel, PerplexityOfQ4KMIsWithinHalfAPercentOfThePeers) {
    GREENROOM_ORACLE_OR_SKIP(text, std::string("model/val/val_") + GetParam().text + ".txt");
    const auto engine = Engine::load(std::string(GREENROOM_SOURCE_DIR) + "/models/tiny-moe-Q4_K_M.gguf");
    const double ours = perplexity_of(*engine, text);
    RecordProperty("perplexity", std::to_string(ours));
    EXPECT_NEAR(ours, GetParam().q4_k_m, 0.005 * GetParam().q4_k_m);
}

TEST_P(DemoModel, PerplexityOfQ80IsWithinATenthOfAPercentOfThePeers) {
    GREENROOM_ORACLE_OR_SKIP(text, std::string("model/val/val_") + GetParam().text + ".txt");
    GREENROOM_ORACLE_OR_SKIP(model, "model/tiny-moe-Q8_0.gguf");
    const auto engine = Engine::load(model.string());
    const double ours = perplexity_of(*engine, text);
    RecordProperty("perplexity", std::to_string(ours));
    EXPECT_NEAR(ours, GetParam().q8_0, 0.001 * GetParam().q8_0);
}

INSTANTIATE_TEST_SUITE_P(Text, DemoModel, testing::ValuesIn(kReferences),
                         [](const auto& param) { return std::string(param.param.text); });

}  // namespace
}  // namespace greenroom::runtime
