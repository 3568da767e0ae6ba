// -ot's rules: which layers' experts they leave to the CPU, and what they refuse.

#include "runtime/tensor_overrides.h"

#include "quant/base/log.h"
#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace greenroom::runtime {
namespace {

using Layers = std::vector<int>;

std::vector<std::string>& log_lines() {
    static std::vector<std::string> lines;
    return lines;
}

class TensorOverrides : public testing::Test {
  protected:
    TensorOverrides() {
        log_lines().clear();
        set_log_sink([](LogLevel, std::string_view line) { log_lines().emplace_back(line); });
    }
    ~TensorOverrides() override { set_log_sink(nullptr); }

    // Of a model of three layers, all of them with experts; the first n_cpu_layers stay with the CPU.
    Layers layers(const std::string& rules, std::int64_t n_cpu_layers = 0) const {
        const std::vector<TensorOverride> parsed =
            rules.empty() ? std::vector<TensorOverride>() : parse_tensor_overrides(rules);
        return cpu_expert_layers(file_, parsed, n_cpu_layers);
    }

    const quant::Gguf file_ =
        quant::Gguf::open(test::test_data("oracle/mini/qwen3moe/model-bf16.gguf").string());
};

TEST_F(TensorOverrides, NameLayersByTheirExpertsTensors) {
    EXPECT_EQ(layers("exps=CPU"), (Layers{0, 1, 2}));
    EXPECT_EQ(layers(R"(\.ffn_.*_exps\.=CPU)"), (Layers{0, 1, 2}));
    EXPECT_EQ(layers(R"(blk\.[02]\.ffn_(gate|up|down)_exps=CPU)"), (Layers{0, 2}));
    EXPECT_EQ(layers(R"(blk\.0\..*_exps=CPU,blk\.2\..*_exps=CPU)"), (Layers{0, 2}));
    EXPECT_EQ(layers(""), Layers{});
    EXPECT_TRUE(log_lines().empty());
}

TEST_F(TensorOverrides, TheFirstRuleThatMatchesDecidesAndTheNumberOfLayersComesLast) {
    EXPECT_EQ(layers(R"(blk\.1\..*exps=CUDA0,exps=CPU)"), (Layers{0, 2}));
    EXPECT_EQ(layers(R"(exps=CPU,blk\.1\..*exps=CUDA0)"), (Layers{0, 1, 2}));
    EXPECT_EQ(layers("", 2), (Layers{0, 1}));
    EXPECT_EQ(layers("", 99), (Layers{0, 1, 2}));
    EXPECT_EQ(layers(R"(blk\.1\..*exps=CUDA0)", 99), (Layers{0, 2}));
    EXPECT_EQ(layers(R"(blk\.2\..*exps=CPU)", 1), (Layers{0, 2}));
    EXPECT_EQ(layers(".*=CUDA0", 99), Layers{});
    EXPECT_TRUE(log_lines().empty());
}

TEST_F(TensorOverrides, ARuleThatMatchesNothingIsSaid) {
    EXPECT_EQ(layers(R"(blk\.7\..*exps=CPU)"), Layers{});
    ASSERT_EQ(log_lines().size(), 1U);
    EXPECT_NE(log_lines()[0].find(R"(blk\.7\..*exps=CPU matches no tensor)"), std::string::npos);
}

TEST_F(TensorOverrides, AnExpertIsNotCut) {
    EXPECT_EQ(layers(R"(blk\.1\.ffn_up_exps=CPU)"), (Layers{1}));
    ASSERT_EQ(log_lines().size(), 1U);
    EXPECT_NE(log_lines()[0].find("those of 1 layer stay with the CPU"), std::string::npos) << log_lines()[0];
}

TEST_F(TensorOverrides, OtherTensorsAreMovedByWholeLayersOnly) {
    for (const char* rule : {".*=CPU", "attn_q=CPU", "ffn_=CPU", "token_embd=CPU"})
        test::expect_error(ErrorKind::bad_input, {"use -ngl", rule}, [&] { layers(rule); });
}

TEST_F(TensorOverrides, NonsenseIsRefused) {
    for (const char* rules :
         {"", "exps", "exps=", "=CPU", "exps=cpu", "exps=CUDA1", "exps=CPU,", "a=CPU=CPU"})
        test::expect_error(ErrorKind::bad_input, {"expected PATTERN=CPU or PATTERN=CUDA0"},
                           [&] { parse_tensor_overrides(rules); });
    test::expect_error(ErrorKind::bad_input, {"'(exps' is no regular expression", "at byte 5"},
                       [] { parse_tensor_overrides("(exps=CPU"); });
}

TEST_F(TensorOverrides, APatternThatExplodesIsRefusedSoon) {
    test::expect_error(ErrorKind::bad_input, {"cannot be searched for", "simpler"},
                       [&] { layers("^(([a-z_.0-9]+)*)*[!?]=CPU"); });
}

}  // namespace
}  // namespace greenroom::runtime
