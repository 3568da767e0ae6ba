// Going back in a session: whatever a model remembers, the tokens that follow give the same logits as if the
// dropped ones had never been.

#include "runtime/session.h"
#include "tests/runtime/oracle_model.h"
#include "tests/runtime/session_values.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

namespace greenroom::runtime {
namespace {

struct Model {
    const char* folder;
    const char* file;
};

void PrintTo(const Model& model, std::ostream* out) { *out << model.folder; }

class Rewind : public testing::TestWithParam<Model> {
  protected:
    // What a session that has seen nothing else says after these tokens.
    std::vector<float> undisturbed(const std::vector<text::TokenId>& tokens) const {
        Session session(*engine_, options_);
        session.evaluate(tokens);
        return logits_of(session);
    }

    const std::unique_ptr<Engine> engine_ = Engine::load(
        test::test_data(std::string("oracle/mini/") + GetParam().folder + "/" + GetParam().file).string(),
        {2, {}});
    const SessionOptions options_{.context_tokens = 200, .batch_tokens = 8};
};

TEST_P(Rewind, GoesOnFromWhatIsKeptAsIfTheRestHadNeverBeen) {
    auto prompt = numbers(10, 30);
    Session session(*engine_, options_);
    session.evaluate(prompt);
    for (const text::TokenId token : numbers(100, 25)) session.evaluate({&token, 1});
    for (const std::int64_t n_keep : {54, 40, 30, 29, 3}) {
        if (n_keep > session.n_tokens()) continue;
        const std::int64_t kept = session.truncate(n_keep);
        ASSERT_LE(kept, n_keep);
        ASSERT_EQ(session.n_tokens(), kept);
        // The same tokens again up to n_keep, then others.
        std::vector<text::TokenId> all = prompt;
        const auto answer = numbers(100, 25);
        all.insert(all.end(), answer.begin(), answer.end());
        all.resize(static_cast<std::size_t>(n_keep));
        const auto others = numbers(200, 7);
        all.insert(all.end(), others.begin(), others.end());
        session.evaluate(std::span(all).subspan(static_cast<std::size_t>(kept)));
        EXPECT_EQ(logits_of(session), undisturbed(all)) << n_keep;
        session.truncate(session.truncate(n_keep));
    }
}

TEST_P(Rewind, ComesBackToTheEndOfAPromptWithoutComputingIt) {
    const auto prompt = numbers(10, 30);
    Session session(*engine_, options_);
    session.evaluate(prompt);
    for (const text::TokenId token : numbers(100, 60)) session.evaluate({&token, 1});
    EXPECT_EQ(session.truncate(30), 30);
    EXPECT_EQ(session.truncate(30), 30) << "and stays there";
}

TEST_P(Rewind, WithoutCheckpointsGoesBackToTheBeginningAtWorst) {
    SessionOptions options = options_;
    options.n_checkpoints = 0;
    Session session(*engine_, options);
    session.evaluate(numbers(10, 30));
    for (const text::TokenId token : numbers(100, 60)) session.evaluate({&token, 1});
    const std::int64_t kept = session.truncate(30);
    EXPECT_TRUE(kept == 0 || kept == 30) << kept;
    auto all = numbers(10, 31);
    session.evaluate(std::span(all).subspan(static_cast<std::size_t>(kept)));
    EXPECT_EQ(logits_of(session), undisturbed(all));
}

TEST_P(Rewind, OnlyTheNewestCheckpointsAreKept) {
    SessionOptions options = options_;
    options.n_checkpoints = 2;
    options.window_rows = WindowRows::ring;
    Session session(*engine_, options);
    for (int turn = 0; turn < 5; ++turn) session.evaluate(numbers(10 + 30 * turn, 30));
    // Turns end at 30, 60, …, 150; the checkpoints at 120 and 150 are there. What only has rows needs none.
    const bool needs_checkpoint = session.checkpoint_bytes() > 0;
    EXPECT_EQ(session.truncate(130), needs_checkpoint ? 120 : 130);
    EXPECT_EQ(session.truncate(90), needs_checkpoint ? 0 : 90);
}

TEST_P(Rewind, ACancelledPromptKeepsWholeBatches) {
    std::atomic<bool> cancelled{false};
    EvaluateOptions options;
    options.cancelled = &cancelled;
    options.progress = [&](std::string_view, std::int64_t done, std::int64_t) { cancelled = done >= 16; };
    Session session(*engine_, options_);
    session.evaluate(numbers(10, 5));
    const auto prompt = numbers(50, 40);
    EXPECT_EQ(session.evaluate(prompt, options), Evaluated::cancelled);
    ASSERT_EQ(session.n_tokens(), 5 + 16);
    session.evaluate(std::span(prompt).subspan(16));
    auto all = numbers(10, 5);
    all.insert(all.end(), prompt.begin(), prompt.end());
    EXPECT_EQ(logits_of(session), undisturbed(all));
}

TEST_P(Rewind, ARingGivesTheBitsOfTheWholeCache) {
    SessionOptions full = options_;
    full.window_rows = WindowRows::full;
    Session whole(*engine_, full);
    whole.evaluate(numbers(10, 150));
    EXPECT_EQ(logits_of(whole), undisturbed(numbers(10, 150)));
}

TEST_P(Rewind, AllocatesNothing) {
    Session session(*engine_, options_);
    const auto prompt = numbers(10, 40);
    session.evaluate(prompt);
    session.truncate(0);
    session.evaluate(prompt);
    const std::int64_t before = test::allocation_count();
    session.evaluate(prompt);
    session.truncate(41);
    session.evaluate(prompt);
    EXPECT_EQ(test::allocation_count(), before);
}

INSTANTIATE_TEST_SUITE_P(Model, Rewind,
                         testing::Values(Model{"deepseek2", "model-bf16.gguf"},
                                         Model{"deepseek32", "model-bf16.gguf"},
                                         Model{"gpt-oss", "model-mxfp4.gguf"},
                                         Model{"llama4", "model-bf16.gguf"},
                                         Model{"qwen35moe", "model-bf16.gguf"}),
                         [](const auto& param) {
                             std::string name = param.param.folder;
                             std::replace(name.begin(), name.end(), '-', '_');
                             return name;
                         });

}  // namespace
}  // namespace greenroom::runtime
