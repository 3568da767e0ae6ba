// Prompts that begin alike: only what is new is evaluated, and the result is that of the whole prompt.

#include "runtime/prefix_reuse.h"

#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace greenroom::runtime {
namespace {

using Tokens = std::vector<text::TokenId>;

class PrefixReuse : public testing::Test {
  protected:
    // Evaluates what the session does not hold yet, and returns it.
    Tokens evaluate(const Tokens& prompt) {
        const std::span<const text::TokenId> rest = reuse_prefix(session_, prompt);
        Tokens evaluated(rest.begin(), rest.end());
        EXPECT_EQ(session_.n_tokens() + static_cast<std::int64_t>(rest.size()),
                  static_cast<std::int64_t>(prompt.size()));
        session_.evaluate(rest);
        EXPECT_EQ(Tokens(session_.tokens().begin(), session_.tokens().end()), prompt);

        Session fresh(*engine_, {64, 16});
        fresh.evaluate(prompt);
        EXPECT_TRUE(std::equal(session_.logits().begin(), session_.logits().end(), fresh.logits().begin()));
        return evaluated;
    }

    const std::unique_ptr<Engine> engine_ =
        Engine::load(test::test_data("oracle/mini/deepseek2/model-bf16.gguf").string(), {1, {}});
    Session session_{*engine_, {64, 16}};
};

TEST_F(PrefixReuse, EmptySessionEvaluatesAll) { EXPECT_EQ(evaluate({5, 6, 7}), (Tokens{5, 6, 7})); }

TEST_F(PrefixReuse, LongerPromptEvaluatesWhatIsNew) {
    evaluate({5, 6, 7});
    EXPECT_EQ(evaluate({5, 6, 7, 8, 9}), (Tokens{8, 9}));
}

TEST_F(PrefixReuse, PromptThatPartsWaysIsEvaluatedFromThere) {
    evaluate({5, 6, 7, 8, 9, 10});
    EXPECT_EQ(evaluate({5, 6, 40, 8, 9}), (Tokens{40, 8, 9}));
    EXPECT_EQ(evaluate({50, 6}), (Tokens{50, 6}));
}

TEST_F(PrefixReuse, TheSameOrAShorterPromptEvaluatesItsLastToken) {
    evaluate({5, 6, 7});
    EXPECT_EQ(evaluate({5, 6, 7}), (Tokens{7}));
    EXPECT_EQ(evaluate({5, 6}), (Tokens{6}));
    EXPECT_EQ(evaluate({5}), (Tokens{5}));
}

TEST_F(PrefixReuse, EmptyPromptForgetsEverything) {
    evaluate({5, 6});
    EXPECT_TRUE(reuse_prefix(session_, {}).empty());
    EXPECT_EQ(session_.n_tokens(), 0);
}

}  // namespace
}  // namespace greenroom::runtime
