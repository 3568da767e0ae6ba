// Perplexity: the same number as the definition gives, worked out another way from the same logits.

#include "runtime/perplexity.h"

#include "runtime/engine.h"
#include "tests/runtime/oracle_model.h"
#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <vector>

namespace greenroom::runtime {
namespace {

constexpr std::int64_t kChunk = 16;

class PerplexityOfMini : public testing::Test {
  protected:
    PerplexityResult measure(std::int64_t max_chunks = -1, const EvaluateOptions& options = {},
                             const std::function<void(const PerplexityResult&)>& on_chunk = {}) {
        return measure_perplexity(session_, engine_->tokenizer(), tokens_, kChunk, max_chunks, options,
                                  on_chunk);
    }

    // −ln p of the positions that count in chunk i: the second half, without the last, whose next token is
    // unknown.
    std::vector<double> chunk_likelihoods(std::int64_t i) const {
        std::vector<text::TokenId> chunk(tokens_.begin() + i * kChunk, tokens_.begin() + (i + 1) * kChunk);
        if (engine_->tokenizer().adds_bos()) chunk[0] = *engine_->tokenizer().bos();
        const std::vector<float> logits = test::all_logits(*engine_, chunk, kChunk);
        const auto n_vocab = static_cast<std::size_t>(engine_->spec().n_vocab);
        std::vector<double> likelihoods;
        for (std::size_t position = kChunk / 2; position + 1 < kChunk; ++position) {
            const auto row = std::span(logits).subspan(position * n_vocab, n_vocab);
            likelihoods.push_back(-test::log_softmax(row)[static_cast<std::size_t>(chunk[position + 1])]);
        }
        return likelihoods;
    }

    const test::OracleModel model_{test::test_data("oracle/mini/deepseek2")};
    const std::unique_ptr<Engine> engine_ =
        Engine::load((model_.folder / "model-bf16.gguf").string(), {1, {}});
    const std::vector<text::TokenId> tokens_ = model_.ids("tokens_p2").values;
    Session session_{*engine_, test::exact_session(kChunk, kChunk)};
};

TEST_F(PerplexityOfMini, FollowsTheDefinition) {
    const auto n_chunks = static_cast<std::int64_t>(tokens_.size()) / kChunk;
    ASSERT_GE(n_chunks, 4);
    std::vector<double> all;
    for (std::int64_t i = 0; i < n_chunks; ++i) {
        const std::vector<double> chunk = chunk_likelihoods(i);
        all.insert(all.end(), chunk.begin(), chunk.end());
    }
    const auto n = static_cast<double>(all.size());
    double mean = 0;
    for (const double v : all) mean += v / n;
    double squared_deviations = 0;
    for (const double v : all) squared_deviations += (v - mean) * (v - mean);

    const PerplexityResult result = measure();
    EXPECT_EQ(result.n_chunks, n_chunks);
    EXPECT_EQ(result.n_tokens, n_chunks * (kChunk / 2 - 1));
    EXPECT_NEAR(result.perplexity, std::exp(mean), 1e-6 * std::exp(mean));
    const double error = std::exp(mean) * std::sqrt(squared_deviations / n / (n - 1));
    EXPECT_NEAR(result.standard_error, error, 1e-6 * error);
}

TEST_F(PerplexityOfMini, ReportsAfterEachChunkAndStopsAtTheLimit) {
    std::vector<PerplexityResult> reports;
    const PerplexityResult result = measure(2, {}, [&](const PerplexityResult& r) { reports.push_back(r); });
    ASSERT_EQ(reports.size(), 2U);
    EXPECT_EQ(reports[0].n_chunks, 1);
    EXPECT_EQ(reports[1].perplexity, result.perplexity);
    EXPECT_EQ(result.n_chunks, 2);
}

TEST_F(PerplexityOfMini, CancelledChunkDoesNotCount) {
    std::atomic<bool> cancelled{false};
    EvaluateOptions options;
    options.cancelled = &cancelled;
    const PerplexityResult result = measure(-1, options, [&](const PerplexityResult&) { cancelled = true; });
    EXPECT_EQ(result.n_chunks, 1);
    cancelled = false;
    EXPECT_EQ(measure(1).perplexity, result.perplexity);
}

TEST_F(PerplexityOfMini, UnusableSizesAreRefused) {
    const auto measure_with = [&](std::size_t n_tokens, std::int64_t n_ctx) {
        measure_perplexity(session_, engine_->tokenizer(), std::span(tokens_).first(n_tokens), n_ctx, -1, {},
                           {});
    };
    test::expect_error(ErrorKind::bad_input, {"31 tokens", "32"}, [&] { measure_with(31, kChunk); });
    test::expect_error(ErrorKind::bad_input, {"chunks of 2"}, [&] { measure_with(40, 2); });
    test::expect_error(ErrorKind::bad_input, {"context of 16"}, [&] { measure_with(40, 17); });
}

}  // namespace
}  // namespace greenroom::runtime
