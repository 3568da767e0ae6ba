// From a prompt to an answer: the reference's greedy continuation, and every way in which an answer ends.

#include "runtime/generation.h"

#include "runtime/engine.h"
#include "tests/runtime/oracle_model.h"
#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <string>
#include <vector>

namespace greenroom::runtime {
namespace {

class GenerationOfMini : public testing::Test {
  protected:
    GenerationOfMini() {
        sampler_options_.temperature = 0;
        options_.max_tokens = 32;
        options_.ignore_end_of_generation = true;  // as the reference did
    }

    struct Answer {
        GenerationResult result;
        std::string text;
        std::vector<std::string> pieces;
    };

    Answer answer(std::span<const text::TokenId> prompt, std::int64_t context_tokens = 128) {
        Session session(*engine_, {context_tokens, 16});
        Sampler sampler(sampler_options_, engine_->spec().n_vocab);
        Answer answer;
        answer.result =
            generate(session, engine_->tokenizer(), sampler, prompt, options_, [&](std::string_view piece) {
                answer.text += piece;
                answer.pieces.emplace_back(piece);
            });
        n_session_tokens_ = session.n_tokens();
        return answer;
    }

    // What the reference continues prompt p1 with.
    std::string reference_text() const {
        return engine_->tokenizer().decode(model_.ids("greedy_p1").values,
                                           text::Tokenizer::ControlTokens::skip,
                                           text::TextPosition::continuation);
    }

    // Makes the model end its answer at once.
    void force_end() { sampler_options_.logit_bias = {{*engine_->tokenizer().eos(), 1e6F}}; }

    const test::OracleModel model_{test::test_data("oracle/mini/deepseek2")};
    const std::unique_ptr<Engine> engine_ =
        Engine::load((model_.folder / "model-bf16.gguf").string(), {1, {}});
    const std::vector<text::TokenId> prompt_ = model_.ids("tokens_p1").values;
    SamplerOptions sampler_options_;
    GenerationOptions options_;
    std::int64_t n_session_tokens_ = 0;
};

TEST_F(GenerationOfMini, GreedyAnswerIsTheReferences) {
    const Answer ours = answer(prompt_);
    EXPECT_EQ(ours.text, reference_text());
    EXPECT_EQ(ours.result.finish, Finish::max_tokens);
    EXPECT_EQ(ours.result.n_prompt_tokens, static_cast<std::int64_t>(prompt_.size()));
    EXPECT_EQ(ours.result.n_generated, 32);
    EXPECT_EQ(n_session_tokens_,
              static_cast<std::int64_t>(prompt_.size()) + 31);  // the last one was not needed
}

TEST_F(GenerationOfMini, NoTokensAskedForMeansThePromptOnly) {
    options_.max_tokens = 0;
    const Answer ours = answer(prompt_);
    EXPECT_EQ(ours.result.finish, Finish::max_tokens);
    EXPECT_EQ(ours.text, "");
    EXPECT_EQ(n_session_tokens_, static_cast<std::int64_t>(prompt_.size()));
}

TEST_F(GenerationOfMini, EndsWhenTheContextIsFull) {
    options_.max_tokens = -1;
    const auto n_prompt = static_cast<std::int64_t>(prompt_.size());
    const Answer ours = answer(prompt_, n_prompt + 5);
    EXPECT_EQ(ours.result.finish, Finish::context_full);
    EXPECT_EQ(ours.result.n_generated, 6);  // five that fit and the one that they lead to
    EXPECT_EQ(n_session_tokens_, n_prompt + 5);
}

TEST_F(GenerationOfMini, EndsBeforeAStopText) {
    const std::string reference = reference_text();
    const std::string stop = reference.substr(reference.size() / 2, 3);
    options_.stop = {"never in this text", stop};
    const Answer ours = answer(prompt_);
    EXPECT_EQ(ours.result.finish, Finish::stop_text);
    EXPECT_EQ(ours.text, reference.substr(0, reference.find(stop)));
    EXPECT_LT(ours.result.n_generated, 32);
}

TEST_F(GenerationOfMini, WhatWasHeldBackForAStopTextIsShownAtTheEnd) {
    const std::string reference = reference_text();
    options_.stop = {reference.substr(reference.size() - 4) + "and more"};
    EXPECT_EQ(answer(prompt_).text, reference);
}

TEST_F(GenerationOfMini, EndOfGenerationEndsTheAnswerAndIsNotShown) {
    force_end();
    options_.ignore_end_of_generation = false;
    const Answer ours = answer(prompt_);
    EXPECT_EQ(ours.result.finish, Finish::end_of_generation);
    EXPECT_EQ(ours.result.n_generated, 1);
    EXPECT_EQ(ours.text, "");
}

TEST_F(GenerationOfMini, ControlTokensAreShownWhenAskedFor) {
    force_end();
    options_.ignore_end_of_generation = false;
    options_.show_control_tokens = true;
    EXPECT_EQ(answer(prompt_).text, engine_->tokenizer().piece(*engine_->tokenizer().eos()));
}

TEST_F(GenerationOfMini, GoesOnAfterEndOfGenerationWhenAskedTo) {
    force_end();
    options_.max_tokens = 3;
    const Answer ours = answer(prompt_);
    EXPECT_EQ(ours.result.finish, Finish::max_tokens);
    EXPECT_EQ(ours.result.n_generated, 3);
}

TEST_F(GenerationOfMini, CancellingEndsTheAnswerWhereItIs) {
    std::atomic<bool> cancelled{true};
    options_.cancelled = &cancelled;
    const Answer none = answer(prompt_);
    EXPECT_EQ(none.result.finish, Finish::cancelled);
    EXPECT_EQ(none.text, "");
    EXPECT_EQ(n_session_tokens_, 0);

    cancelled = false;
    std::string text;
    Session session(*engine_, {128, 16});
    Sampler sampler(sampler_options_, engine_->spec().n_vocab);
    const auto stop_at_ten = [&](std::string_view piece) {
        text += piece;
        cancelled = text.size() >= 10;
    };
    const GenerationResult result =
        generate(session, engine_->tokenizer(), sampler, prompt_, options_, stop_at_ten);
    EXPECT_EQ(result.finish, Finish::cancelled);
    EXPECT_TRUE(reference_text().starts_with(text));
    EXPECT_LT(result.n_generated, 32);
}

TEST_F(GenerationOfMini, PenaltiesSeeThePrompt) {
    sampler_options_.presence_penalty = 1e6F;
    sampler_options_.penalty_last_n = -1;
    options_.max_tokens = 64;
    Session session(*engine_, {128, 16});
    Sampler sampler(sampler_options_, engine_->spec().n_vocab);
    generate(session, engine_->tokenizer(), sampler, prompt_, options_, [](std::string_view) {});
    const std::int32_t next = sampler.sample(session.logits());
    EXPECT_EQ(std::count(prompt_.begin(), prompt_.end(), next), 0);
}

TEST_F(GenerationOfMini, PromptThatIsEmptyOrTooLongIsRefused) {
    test::expect_error(ErrorKind::bad_input, {"prompt is empty"}, [&] { answer({}); });
    test::expect_error(ErrorKind::bad_input, {"context of 8"}, [&] { answer(prompt_, 8); });
}

}  // namespace
}  // namespace greenroom::runtime
