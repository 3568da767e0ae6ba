// Sessions: their limits, their errors, and that a step allocates nothing.

#include "runtime/session.h"

#include "tests/runtime/oracle_model.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <span>
#include <string>
#include <vector>

namespace greenroom::runtime {
namespace {

class SessionOfMini : public testing::Test {
  protected:
    static std::vector<text::TokenId> first_tokens(int n) {
        std::vector<text::TokenId> tokens(static_cast<std::size_t>(n));
        std::iota(tokens.begin(), tokens.end(), 10);
        return tokens;
    }

    const std::unique_ptr<Engine> engine_ =
        Engine::load(test::test_data("oracle/mini/deepseek2/model-bf16.gguf").string(), {2, {}});
};

TEST_F(SessionOfMini, ContextBeyondTheModelsIsRefusedSayingByHowMuch) {
    test::expect_error(ErrorKind::bad_input, {"300 tokens", "44 more", "256", "-c 256"}, [&] {
        Session(*engine_, {300, 16});
    });
    test::expect_error(ErrorKind::bad_input, {"-1"}, [&] { Session(*engine_, {-1, 16}); });
    test::expect_error(ErrorKind::bad_input, {"batch"}, [&] { Session(*engine_, {16, 0}); });
    EXPECT_EQ(Session(*engine_, {0, 16}).context_tokens(), 256);
}

TEST_F(SessionOfMini, TooManyTokensAreRefusedSayingByHowMuchAndChangeNothing) {
    Session session(*engine_, {20, 8});
    session.evaluate(first_tokens(15));
    const std::vector<float> before(session.logits().begin(), session.logits().end());
    test::expect_error(ErrorKind::bad_input, {"9 tokens after 15", "4 more", "context of 20"},
                       [&] { session.evaluate(first_tokens(9)); });
    EXPECT_EQ(session.n_tokens(), 15);
    EXPECT_EQ(std::vector<float>(session.logits().begin(), session.logits().end()), before);
    session.evaluate(first_tokens(5));
    EXPECT_EQ(session.n_tokens(), 20);
}

TEST_F(SessionOfMini, IdsOutsideTheVocabularyAreRefused) {
    Session session(*engine_, {20, 8});
    for (const text::TokenId id : {-1, 512, 1 << 30}) {
        const std::vector<text::TokenId> tokens = {1, id};
        test::expect_error(ErrorKind::bad_input, {std::to_string(id), "vocabulary of 512"},
                           [&] { session.evaluate(tokens); });
    }
    test::expect_error(ErrorKind::bad_input, {"no tokens"}, [&] { session.evaluate({}); });
    EXPECT_EQ(session.n_tokens(), 0);
}

TEST_F(SessionOfMini, CancelledEvaluationKeepsTheBatchesThatWereCompleted) {
    Session session(*engine_, {60, 8});
    session.evaluate(first_tokens(4));
    std::atomic<bool> cancelled{false};
    EvaluateOptions options;
    options.cancelled = &cancelled;
    options.progress = [&](std::string_view, std::int64_t done, std::int64_t) { cancelled = done >= 16; };
    EXPECT_EQ(session.evaluate(first_tokens(40), options), Evaluated::cancelled);
    EXPECT_EQ(session.n_tokens(), 4 + 16);

    const auto prompt = first_tokens(40);
    session.evaluate(std::span(prompt).subspan(16));
    Session undisturbed(*engine_, {60, 8});
    undisturbed.evaluate(first_tokens(4));
    undisturbed.evaluate(prompt);
    EXPECT_TRUE(std::equal(session.logits().begin(), session.logits().end(), undisturbed.logits().begin()));
}

TEST_F(SessionOfMini, TruncatedTimelineGoesOnAsIfTheRestHadNeverBeen) {
    Session session(*engine_, {60, 8});
    session.evaluate(first_tokens(30));
    EXPECT_EQ(session.truncate(10), 10);
    session.evaluate(first_tokens(7));
    const auto tokens = [&] {
        auto all = first_tokens(10);
        const auto more = first_tokens(7);
        all.insert(all.end(), more.begin(), more.end());
        return all;
    }();
    Session fresh(*engine_, {60, 8});
    fresh.evaluate(tokens);
    EXPECT_TRUE(std::equal(session.logits().begin(), session.logits().end(), fresh.logits().begin()));
}

TEST_F(SessionOfMini, LogitsOfEvaluateAreTheLastOfEvaluateEach) {
    Session session(*engine_, test::exact_session(60, 8));
    session.evaluate(first_tokens(30));
    const auto all = test::all_logits(*engine_, first_tokens(30), 8);
    EXPECT_TRUE(
        std::equal(session.logits().begin(), session.logits().end(), all.end() - engine_->spec().n_vocab));
}

TEST_F(SessionOfMini, ProgressCountsTheTokensOfThePrompt) {
    Session session(*engine_, {60, 8});
    std::vector<std::int64_t> seen;
    EvaluateOptions options;
    options.progress = [&](std::string_view, std::int64_t done, std::int64_t total) {
        EXPECT_EQ(total, 20);
        seen.push_back(done);
    };
    session.evaluate(first_tokens(20), options);
    EXPECT_EQ(seen, (std::vector<std::int64_t>{8, 16, 20}));
}

TEST_F(SessionOfMini, EvaluatingAllocatesNothing) {
    Session session(*engine_, {200, 16});
    const auto prompt = first_tokens(40);
    const auto one = first_tokens(1);
    session.evaluate(prompt);  // whatever is made at the first use
    const std::int64_t before = test::allocation_count();
    session.evaluate(prompt);
    for (int i = 0; i < 20; ++i) session.evaluate(one);
    EXPECT_EQ(test::allocation_count(), before);
}

}  // namespace
}  // namespace greenroom::runtime
