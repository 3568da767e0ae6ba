// TraceRecorder on hand-made calls.

#include "tools/trace_recorder.h"

#include "quant/half.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

namespace greenroom::tools {
namespace {

constexpr std::uint16_t kAbsent = cache::Trace::kAbsent;
using Ids = std::vector<std::uint16_t>;

runtime::LayerSpec moe_layer(int top_k, int n_experts) {
    runtime::MoeFfnSpec moe;
    moe.router.top_k = top_k;
    moe.router.n_experts = n_experts;
    return {runtime::GqaSpec{}, moe};
}

const runtime::LayerSpec kDense{runtime::GqaSpec{}, runtime::DenseFfnSpec{8}};

// Layers 1 and 3 of a model have experts: 2 of 3.
class Recorder : public testing::Test {
  protected:
    Recorder() { rule_.top_k = 2; }

    static runtime::ModelSpec spec() {
        runtime::ModelSpec spec;
        spec.layers = {kDense, moe_layer(2, 3), kDense, moe_layer(2, 3)};
        return spec;
    }

    static TraceRecorder recorder(TraceScores scores = TraceScores::recorded) {
        return {trace_shape(spec(), "model"), 10, scores};
    }

    static void embed(TraceRecorder& recorder, std::int64_t first_position, std::int64_t n_tokens) {
        recorder.on_hidden(-1, first_position, {nullptr, n_tokens, 4, 4});
    }

    void route(TraceRecorder& recorder, int layer, std::int64_t first_position,
               const std::vector<std::int32_t>& experts, const std::vector<float>& weights,
               std::vector<float> logits = {}) const {
        const auto n_tokens = static_cast<std::int64_t>(experts.size()) / 2;
        logits.resize(static_cast<std::size_t>(n_tokens * 3));
        recorder.on_router({layer, first_position, rule_, experts, weights, {logits.data(), n_tokens, 3, 3}});
    }

    void guess(TraceRecorder& recorder, int layer, int distance, std::int64_t first_position,
               const std::vector<std::int32_t>& experts) const {
        recorder.on_guess({layer, distance, first_position, rule_, experts});
    }

    RouterRule rule_;
};

TEST_F(Recorder, LayersAreThoseWithExperts) {
    const TraceShape shape = trace_shape(spec(), "model");
    EXPECT_EQ(shape.layers, (std::vector<int>{1, 3}));
    EXPECT_EQ(shape.top_k, 2);
    EXPECT_EQ(shape.n_experts, 3);
}

TEST_F(Recorder, ModelsThatDoNotFitIntoATraceAreRefused) {
    runtime::ModelSpec model;
    model.layers = {kDense};
    test::expect_error(ErrorKind::bad_input, {"m.gguf", "no layer with experts"},
                       [&] { trace_shape(model, "m.gguf"); });
    model.layers = {moe_layer(2, 8), kDense, moe_layer(1, 8)};
    test::expect_error(ErrorKind::unsupported, {"m.gguf", "layer 2 uses 1 of 8", "layer 0 2 of 8"},
                       [&] { trace_shape(model, "m.gguf"); });
    model.layers = {moe_layer(2, 65536)};
    test::expect_error(ErrorKind::unsupported, {"65536"}, [&] { trace_shape(model, "m.gguf"); });
}

TEST_F(Recorder, BatchesFollowEachOther) {
    TraceRecorder recorder = Recorder::recorder();
    recorder.begin_text();
    embed(recorder, 0, 2);
    route(recorder, 1, 0, {0, 1, 2, 1}, {0.75F, 0.25F, 0.5F, 0.5F});
    route(recorder, 3, 0, {1, 0, 0, 2}, {1, 2, 3, 4});
    embed(recorder, 2, 1);
    route(recorder, 1, 2, {1, 2}, {0.5F, 0.25F});
    route(recorder, 3, 2, {2, 0}, {5, 6});
    const cache::Trace& trace = recorder.trace();
    EXPECT_EQ(trace.n_tokens, 3);
    EXPECT_EQ(trace.n_layers, 2);
    EXPECT_EQ(trace.top_k, 2);
    EXPECT_EQ(trace.n_experts, 3);
    EXPECT_EQ(trace.experts, (Ids{0, 1, 1, 0, 2, 1, 0, 2, 1, 2, 2, 0}));
    EXPECT_EQ(trace.weights, (std::vector<float>{0.75F, 0.25F, 1, 2, 0.5F, 0.5F, 3, 4, 0.5F, 0.25F, 5, 6}));
    EXPECT_EQ(trace.sequence, (std::vector<std::int32_t>{0, 0, 0}));
}

TEST_F(Recorder, TextsAndPhasesAreTold) {
    TraceRecorder recorder = Recorder::recorder();
    recorder.begin_text();
    embed(recorder, 0, 2);
    recorder.set_phase(TracePhase::decode);
    embed(recorder, 2, 1);
    recorder.begin_text();
    embed(recorder, 0, 1);
    route(recorder, 1, 0, {2, 0}, {1, 1});
    const cache::Trace& trace = recorder.trace();
    EXPECT_EQ(trace.sequence, (std::vector<std::int32_t>{0, 0, 0, 1}));
    EXPECT_EQ(trace.phase, (std::vector<std::uint8_t>{0, 0, 1, 0}));
    EXPECT_EQ(trace.experts[trace.row(3, 0)], 2);
    EXPECT_EQ(trace.experts[trace.row(0, 0)], kAbsent) << "nobody has called on_router()";
}

TEST_F(Recorder, GuessesGoToTheLayerTheyAreAbout) {
    TraceRecorder recorder = Recorder::recorder();
    EXPECT_EQ(recorder.n_guesses(), 3);
    recorder.begin_text();
    embed(recorder, 0, 1);
    embed(recorder, 1, 2);
    guess(recorder, 3, 1, 1, {2, 0, 0, 1});
    const auto& predicted = recorder.trace().predicted;
    EXPECT_EQ(predicted[0],
              (Ids{kAbsent, kAbsent, kAbsent, kAbsent, kAbsent, kAbsent, 2, 0, kAbsent, kAbsent, 0, 1}));
    EXPECT_EQ(predicted[1], Ids(12, kAbsent));
}

TEST_F(Recorder, ScoresAreProbabilities) {
    const float ln2 = std::log(2.0F);
    const auto scores_of = [&](RouterRule::Scoring scoring) {
        rule_.scoring = scoring;
        TraceRecorder recorder = Recorder::recorder();
        recorder.begin_text();
        embed(recorder, 0, 1);
        route(recorder, 3, 0, {0, 1}, {1, 1}, {2 * ln2, ln2, ln2});
        std::vector<float> scores;
        for (const std::uint16_t bits : recorder.trace().scores) scores.push_back(quant::f16_to_f32(bits));
        return scores;
    };
    const auto expect_near = [](const std::vector<float>& found, const std::vector<float>& expected) {
        ASSERT_EQ(found.size(), expected.size());
        // Half a unit of float16 below 1.
        for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 0x1p-12) << i;
    };
    const std::vector<float> softmax = {0, 0, 0, 0.5F, 0.25F, 0.25F};
    expect_near(scores_of(RouterRule::Scoring::softmax), softmax);
    expect_near(scores_of(RouterRule::Scoring::softmax_of_chosen), softmax);
    expect_near(scores_of(RouterRule::Scoring::sigmoid), {0, 0, 0, 0.8F, 2 / 3.0F, 2 / 3.0F});
}

TEST_F(Recorder, ScoresCanBeLeftOut) {
    TraceRecorder recorder = Recorder::recorder(TraceScores::left_out);
    recorder.begin_text();
    embed(recorder, 0, 1);
    route(recorder, 1, 0, {0, 1}, {1, 1});
    EXPECT_TRUE(recorder.trace().scores.empty());
    EXPECT_EQ(recorder.trace().experts[0], 0);
}

TEST_F(Recorder, MemoryIsThatOfTheArrays) {
    const TraceShape shape = trace_shape(spec(), "model");
    // Two layers of: experts, three predictions, weights, scores in 2 bytes; sequence and phase.
    EXPECT_EQ(trace_file_bytes(shape, 100, TraceScores::recorded), 100 * (2 * (5 * 2 + 3) * 2 + 5));
    EXPECT_EQ(trace_file_bytes(shape, 100, TraceScores::left_out), 100 * (2 * 5 * 2 * 2 + 5));
    EXPECT_EQ(trace_memory_bytes(shape, 100, TraceScores::left_out), 100 * (2 * 5 * 2 * 2 + 5 + 2 * 2 * 4));
}

}  // namespace
}  // namespace greenroom::tools
