// Prompts of thousands of tokens: apart from the other comparisons because they take minutes under a
// sanitizer.

#include "tests/runtime/oracle_model.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <span>
#include <vector>

namespace greenroom::test {
namespace {

// A prompt that crosses the attention chunk and the temperature's floor at 8192.
TEST(Llama4Long, LogitsBeyondTheChunkAreTheReferences) {
    GREENROOM_ORACLE_OR_SKIP(folder, "oracle/llama4");
    constexpr double kMaxLongDifference = 5e-3;  // the reference data's tolerance for this prompt
    const OracleModel oracle{folder};
    const auto engine = runtime::Engine::load((oracle.folder / "model-bf16.gguf").string());
    const auto tokens = oracle.ids("tokens_long").values;
    const auto reference = oracle.floats("logits_long_last128");
    const auto n_last = static_cast<std::size_t>(reference.dim(0));
    runtime::Session session(*engine, exact_session(static_cast<std::int64_t>(tokens.size()), 512));
    session.evaluate(std::span(tokens).first(tokens.size() - n_last));
    std::vector<float> ours;
    session.evaluate_each(std::span(tokens).last(n_last), [&ours](std::int64_t, std::span<const float> row) {
        ours.insert(ours.end(), row.begin(), row.end());
    });
    EXPECT_LE(max_abs_difference(reference.values, ours), kMaxLongDifference);
}

}  // namespace
}  // namespace greenroom::test
