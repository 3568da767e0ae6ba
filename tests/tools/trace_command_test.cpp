// greenroom trace, from outside: what it records is what `logits` shows, and no half traces.

#include "cache/trace.h"
#include "runtime/engine.h"
#include "tests/support/npy.h"
#include "tests/support/paths.h"
#include "tests/tools/subprocess.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace greenroom::test {
namespace {

constexpr const char* kText = "In the beginning was the Word, and the Word was with God.";

class TraceCommand : public testing::Test {
  protected:
    TraceCommand() { write("text.txt", kText); }

    void write(const std::string& name, const std::string& text) const {
        std::ofstream(folder_.file(name)) << text;
    }

    Finished trace(const std::vector<std::string>& flags, const std::string& model = mini_model()) const {
        std::vector<std::string> args = {"trace", "-m", model, "-o", trace_path(), "-t", "1"};
        args.insert(args.end(), flags.begin(), flags.end());
        return greenroom(args);
    }

    // The same with text.txt, and what it has recorded.
    cache::Trace recorded(std::vector<std::string> flags, const std::string& model = mini_model()) const {
        flags.insert(flags.begin(), {"-f", folder_.file("text.txt")});
        const Finished run = trace(flags, model);
        EXPECT_EQ(run.exit_code, 0) << run.err;
        EXPECT_EQ(run.out + run.err, "");
        return run.exit_code == 0 ? cache::read_trace(trace_path()) : cache::Trace{};
    }

    std::string trace_path() const { return folder_.file("trace"); }

    const TempDir folder_;
};

std::vector<text::TokenId> tokens_of(const std::string& model, const std::string& text) {
    const auto engine = runtime::Engine::load(model, {1, {}});
    std::vector<text::TokenId> tokens = engine->tokenizer().encode(text);
    if (engine->tokenizer().adds_bos()) tokens.insert(tokens.begin(), *engine->tokenizer().bos());
    return tokens;
}

// The experts are those of `logits`, whose choices are tested against the references, in any order.
TEST_F(TraceCommand, RecordsTheChoicesThatLogitsShows) {
    for (const char* name : {"deepseek2", "deepseek2-lite", "kimi-k2"}) {
        const std::string model = mini_model(name);
        const auto trace = recorded({"-b", "7", "--activations", "f32", "-ctk", "f32", "-ctv", "f32"}, model);
        std::string list;
        for (const text::TokenId id : tokens_of(model, kText))
            list += (list.empty() ? "" : ",") + std::to_string(id);
        const Finished run = greenroom({"logits", "-m", model, "--tokens", list, "-t", "1", "-o",
                                        folder_.file("logits.npy"), "--router", folder_.file("router")});
        ASSERT_EQ(run.exit_code, 0) << run.err;
        const auto ids = load_npy<std::int32_t>(folder_.file("router/router_ids.npy"));
        const auto weights = load_npy<float>(folder_.file("router/router_weights.npy"));
        ASSERT_EQ(ids.shape.size(), 3U);
        ASSERT_EQ(ids.shape[0], trace.n_layers);
        ASSERT_EQ(ids.shape[1], trace.n_tokens);
        ASSERT_EQ(ids.shape[2], trace.top_k);
        for (int layer = 0; layer < trace.n_layers; ++layer)
            for (std::int64_t token = 0; token < trace.n_tokens; ++token) {
                std::vector<std::pair<std::int32_t, float>> ours;
                std::vector<std::pair<std::int32_t, float>> theirs;
                for (int k = 0; k < trace.top_k; ++k) {
                    const std::size_t at = trace.row(token, layer) + static_cast<std::size_t>(k);
                    ours.emplace_back(trace.experts[at], trace.weights[at]);
                    const auto there =
                        static_cast<std::size_t>((layer * trace.n_tokens + token) * trace.top_k + k);
                    theirs.emplace_back(ids.values[there], weights.values[there]);
                }
                std::sort(ours.begin(), ours.end());
                std::sort(theirs.begin(), theirs.end());
                for (std::size_t k = 0; k < ours.size(); ++k) {
                    EXPECT_EQ(ours[k].first, theirs[k].first) << name << ", token " << token;
                    EXPECT_NEAR(ours[k].second, theirs[k].second, 0x1p-11 * theirs[k].second);  // float16
                }
            }
    }
}

TEST_F(TraceCommand, EveryLayerButTheFirstIsPredicted) {
    const auto trace = recorded({});
    ASSERT_GT(trace.n_layers, 1);
    EXPECT_EQ(trace.scores.size(),
              static_cast<std::size_t>(trace.n_tokens * trace.n_layers * trace.n_experts));
    for (std::size_t i = 0; i < cache::Trace::kMostDistance; ++i)
        for (std::int64_t token = 0; token < trace.n_tokens; ++token)
            for (int layer = 0; layer < trace.n_layers; ++layer) {
                const bool is_absent =
                    trace.predicted[i].at(trace.row(token, layer)) == cache::Trace::kAbsent;
                EXPECT_EQ(is_absent, layer <= static_cast<int>(i)) << layer << " at distance " << i + 1;
            }
}

TEST_F(TraceCommand, SimulateReplaysIt) {
    recorded({});
    const Finished run = greenroom({"simulate", "--trace", trace_path(), "--policy", "lru", "--sizes", "50"});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_NE(run.out.find("lru"), std::string::npos) << run.out;
}

TEST_F(TraceCommand, LongTextsAreCutIntoContexts) {
    const auto n_tokens = static_cast<std::int64_t>(tokens_of(mini_model(), kText).size());
    ASSERT_GT(n_tokens, 20);
    const auto whole = recorded({"--no-scores"});
    EXPECT_EQ(whole.n_tokens, n_tokens);
    EXPECT_TRUE(whole.scores.empty());
    EXPECT_EQ(std::count(whole.sequence.begin(), whole.sequence.end(), 0), n_tokens);

    const auto cut = recorded({"-c", "10"});
    for (std::size_t t = 0; t < cut.sequence.size(); ++t)
        EXPECT_EQ(cut.sequence[t], static_cast<std::int32_t>(t / 10));
    EXPECT_TRUE(std::equal(cut.experts.begin(),
                           cut.experts.begin() + static_cast<std::ptrdiff_t>(cut.row(10, 0)),
                           whole.experts.begin()))
        << "the first context";
    const auto begins_with_bos = tokens_of(mini_model(), "").size();
    EXPECT_EQ(recorded({"--max-tokens", "5"}).n_tokens, static_cast<std::int64_t>(5 + begins_with_bos));
}

TEST_F(TraceCommand, EachFileIsASequence) {
    write("other.txt", "Another text.");
    const auto n_text = static_cast<std::int64_t>(tokens_of(mini_model(), kText).size());
    const auto n_other = static_cast<std::int64_t>(tokens_of(mini_model(), "Another text.").size());
    const auto trace = recorded({"-f", folder_.file("other.txt")});
    EXPECT_EQ(trace.n_tokens, n_text + n_other);
    EXPECT_EQ(std::count(trace.sequence.begin(), trace.sequence.end(), 1), n_other);
}

TEST_F(TraceCommand, TheModelGoesOnAfterTheText) {
    const auto n_text = static_cast<std::int64_t>(tokens_of(mini_model(), kText).size());
    const auto trace = recorded({"-n", "12", "--ignore-eos"});
    EXPECT_EQ(trace.n_tokens, n_text + 12);
    for (std::int64_t t = 0; t < trace.n_tokens; ++t)
        EXPECT_EQ(trace.phase[static_cast<std::size_t>(t)], t < n_text ? 0 : 1);
    EXPECT_EQ(trace.sequence.back(), 0);
    EXPECT_NE(trace.experts[trace.row(trace.n_tokens - 1, 0)], cache::Trace::kAbsent);

    // The last context leaves room: the text's end is in it as far as it fits.
    const auto cut = recorded({"-n", "4", "--ignore-eos", "-c", "10"});
    EXPECT_EQ(std::count(cut.sequence.begin(), cut.sequence.end(), cut.sequence.back()), 10);
    EXPECT_EQ(std::count(cut.phase.begin(), cut.phase.end(), 1), 4);
}

TEST_F(TraceCommand, ReplacesATraceAndNothingElse) {
    recorded({});
    const auto again = recorded({"--no-scores"});
    EXPECT_TRUE(again.scores.empty()) << "of the first";
    std::ofstream(trace_path() + "/letter.txt") << "mine";
    const Finished run = trace({"-f", folder_.file("text.txt")});
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_NE(run.err.find("letter.txt"), std::string::npos) << run.err;
    EXPECT_EQ(cache::read_trace(trace_path()).experts, again.experts);
}

TEST_F(TraceCommand, MistakesInTheCommandLineAreBadUsage) {
    const std::string text = folder_.file("text.txt");
    const std::vector<std::vector<std::string>> cases = {{},
                                                         {"-f", text, "-n", "-1"},
                                                         {"-f", text, "-c", "x"},
                                                         {"-f", text, "-n", "10", "-c", "10"},
                                                         {"-f", text, "--max-tokens", "-3"},
                                                         {"-f", text, "extra"}};
    for (const auto& flags : cases) {
        const Finished run = trace(flags);
        EXPECT_EQ(run.exit_code, 2) << run.err;
        EXPECT_FALSE(std::filesystem::exists(trace_path()));
    }
}

TEST_F(TraceCommand, WhatFailsLeavesNoTrace) {
    write("empty.txt", "");
    const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
        {{"-f", folder_.file("missing.txt")}, "missing.txt"},
        {{"-f", folder_.file("empty.txt")}, "empty.txt"},
        {{"-f", folder_.file("text.txt"), "-c", "100000"}, "100000"},
        {{"-f", folder_.file("text.txt"), "-m", folder_.file("missing.gguf")}, "missing.gguf"},
        {{"-f", folder_.file("text.txt"), "-o", "/dev/null/x"}, "/dev/null/x"},
    };
    for (const auto& [flags, named] : cases) {
        std::vector<std::string> args = {"trace"};
        const auto is_given = [&flags = flags](const char* flag) {
            return std::find(flags.begin(), flags.end(), flag) != flags.end();
        };
        if (!is_given("-m")) args.insert(args.end(), {"-m", mini_model()});
        if (!is_given("-o")) args.insert(args.end(), {"-o", trace_path()});
        args.insert(args.end(), flags.begin(), flags.end());
        const Finished run = greenroom(args);
        EXPECT_EQ(run.exit_code, 1) << named;
        EXPECT_NE(run.err.find(named), std::string::npos) << run.err;
        EXPECT_FALSE(std::filesystem::exists(trace_path()));
    }
}

TEST_F(TraceCommand, DiskThatIsTooSmallKeepsTheOldTrace) {
    const auto old = recorded({"--max-tokens", "3"});
    const std::string command = std::string("ulimit -f 1; exec '") + GREENROOM_BINARY + "' trace -m '" +
                                mini_model() + "' -f '" + folder_.file("text.txt") + "' -o '" + trace_path() +
                                "'";
    const Finished run = Subprocess({"/bin/sh", "-c", command}).wait();
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_NE(run.err.find(".npy: cannot be written"), std::string::npos) << run.err;
    EXPECT_EQ(cache::read_trace(trace_path()).n_tokens, old.n_tokens);
    EXPECT_FALSE(std::filesystem::exists(trace_path() + "/partial"));
}

}  // namespace
}  // namespace greenroom::test
