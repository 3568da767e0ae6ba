// What measure_speed() evaluates, and that nothing is left of it: by the batches that pass through the model.

#include "tools/measure_speed.h"

#include "runtime/observer.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

namespace greenroom::test {
namespace {

using namespace tools;

using Positions = std::vector<std::int64_t>;

std::unique_ptr<runtime::Engine> load_engine(const std::string& model,
                                             const runtime::SessionOptions& session) {
    auto engine = runtime::Engine::open(test_data("oracle/mini/" + model).string(), 1);
    runtime::LoadOptions options;
    options.session = session;
    engine->load_weights(options);
    return engine;
}

// Where each batch began.
class BatchRecorder : public runtime::ForwardObserver {
  public:
    void on_hidden(int layer, std::int64_t first_position, ConstMatrixView /*hidden*/) override {
        if (layer == -1) positions.push_back(first_position);
    }
    void on_router(const runtime::RouterChoice& /*choice*/) override {}

    Positions positions;
};

class MeasureSpeed : public testing::TestWithParam<std::string> {
  protected:
    MeasureSpeed() {
        options_.observer = &recorder_;
        options_.n_repetitions = 2;
    }

    // A session in batches of 8, with exactly the context that the test needs.
    runtime::Session& session_for(const SpeedTest& test) {
        const runtime::SessionOptions options{
            .context_tokens = test.n_tokens(), .batch_tokens = 8, .n_checkpoints = 0};
        engine_ = load_engine(GetParam(), options);
        session_ = std::make_unique<runtime::Session>(*engine_, options);
        return *session_;
    }

    // Rows stay where they are; a state has moved on.
    bool goes_back() const { return session_->kv_layout().state_bytes() == 0; }

    BatchRecorder recorder_;
    SpeedOptions options_;
    std::unique_ptr<runtime::Engine> engine_;
    std::unique_ptr<runtime::Session> session_;
};

TEST_P(MeasureSpeed, EvaluatesWarmupDepthPromptAndGeneratedTokensFromAClearedTimeline) {
    const SpeedTest test{.n_prompt = 12, .n_gen = 2, .n_depth = 10};
    runtime::Session& session = session_for(test);
    const auto result = measure_speed(*engine_, session, test, options_);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->samples_ns.size(), 2U);
    Positions expected = {0, 8, 12};                            // warmup
    expected.insert(expected.end(), {0, 8, 10, 18, 22, 23});    // depth, prompt, two tokens
    if (!goes_back()) expected.insert(expected.end(), {0, 8});  // depth
    expected.insert(expected.end(), {10, 18, 22, 23});
    EXPECT_EQ(recorder_.positions, expected);
}

TEST_P(MeasureSpeed, WithoutWarmupTheFirstTokenIsTimed) {
    const SpeedTest test{.n_gen = 3};
    options_.warmup = Warmup::no;
    runtime::Session& session = session_for(test);
    ASSERT_TRUE(measure_speed(*engine_, session, test, options_));
    EXPECT_EQ(recorder_.positions, (Positions{0, 1, 2, 0, 1, 2}));
}

TEST_P(MeasureSpeed, NothingIsLeftOfEarlierRepetitions) {
    const SpeedTest test{.n_prompt = 20, .n_gen = 4, .n_depth = 9};
    runtime::Session& session = session_for(test);
    const auto logits = [&] {
        EXPECT_TRUE(measure_speed(*engine_, session, test, options_));
        return std::vector<float>(session.logits().begin(), session.logits().end());
    };
    const std::vector<float> fresh = logits();
    EXPECT_EQ(logits(), fresh);  // to the bit: the same tokens, from a session that has been used
}

TEST_P(MeasureSpeed, RepetitionsReadOtherTokens) {
    const SpeedTest test{.n_prompt = 20};
    runtime::Session& session = session_for(test);
    std::vector<std::vector<text::TokenId>> texts;
    for (const int n_repetitions : {1, 2, 3}) {
        options_.n_repetitions = n_repetitions;
        ASSERT_TRUE(measure_speed(*engine_, session, test, options_));
        texts.emplace_back(session.tokens().begin(), session.tokens().end());
    }
    EXPECT_NE(texts[0], texts[1]);
    EXPECT_NE(texts[1], texts[2]);
}

TEST_P(MeasureSpeed, CancelledGivesNoResult) {
    const SpeedTest test{.n_prompt = 8};
    const std::atomic<bool> cancelled{true};
    options_.cancelled = &cancelled;
    runtime::Session& session = session_for(test);
    EXPECT_FALSE(measure_speed(*engine_, session, test, options_));
}

INSTANTIATE_TEST_SUITE_P(Families, MeasureSpeed,
                         testing::Values("deepseek2/model-bf16.gguf",    // rows
                                         "gpt-oss/model-mxfp4.gguf",     // rings of a window
                                         "qwen35moe/model-bf16.gguf"));  // states

TEST(FillExpertSlots, LeavesNothingToReadForTheFirstToken) {
    const SpeedTest test{.n_prompt = 16};
    const runtime::SessionOptions options{.context_tokens = test.n_tokens()};
    const auto engine = load_engine("deepseek2/model-bf16.gguf", options);
    EXPECT_FALSE(engine->experts()->is_complete());
    fill_expert_slots(*engine, {}, nullptr);
    EXPECT_TRUE(engine->experts()->is_complete());
    runtime::Session session(*engine, options);
    const auto result = measure_speed(*engine, session, test, {});
    ASSERT_TRUE(result);
    EXPECT_GT(result->experts.n_hits, 0);
    EXPECT_EQ(result->experts.n_hits, result->experts.n_demanded());
    EXPECT_EQ(result->experts.n_bytes_read, 0);
}

TEST(SpeedTest, NamesAreThoseOfLlamaBench) {
    EXPECT_EQ((SpeedTest{.n_prompt = 512}.name()), "pp512");
    EXPECT_EQ((SpeedTest{.n_gen = 128}.name()), "tg128");
    EXPECT_EQ((SpeedTest{.n_prompt = 512, .n_gen = 128}.name()), "pp512+tg128");
    EXPECT_EQ((SpeedTest{.n_gen = 16, .n_depth = 4096}.name()), "tg16 @ d4096");
}

}  // namespace
}  // namespace greenroom::test
