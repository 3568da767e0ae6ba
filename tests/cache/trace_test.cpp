#include "cache/trace.h"
#include "cache/npy.h"
#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace greenroom::cache {
namespace {

Trace small_trace() {
    Trace trace;
    trace.n_tokens = 2;
    trace.n_layers = 2;
    trace.top_k = 2;
    trace.n_experts = 3;
    trace.experts = {0, 1, 2, 1, 1, 0, Trace::kAbsent, Trace::kAbsent};
    trace.weights = {0.5F, 0.25F, 0.75F, 0.125F, 0.5F, 0.5F, 0, 0};
    trace.sequence = {0, 1};
    trace.phase = {0, 1};
    trace.scores = {0x3800, 0x3400, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x3C00};
    trace.predicted[0] = {Trace::kAbsent, Trace::kAbsent, 1, 2, Trace::kAbsent, Trace::kAbsent, 0, 1};
    trace.predicted[2] = {0, 1, 1, 2, 2, 1, 0, 2};
    return trace;
}

class TraceFiles : public testing::Test {
  protected:
    void expect_refusal(std::initializer_list<std::string_view> texts,
                        ErrorKind kind = ErrorKind::bad_input) const {
        test::expect_error(kind, texts, [&] { read_trace(path_); });
    }
    std::string file(const char* name) const { return (std::filesystem::path(path_) / name).string(); }

    const test::TempDir folder_;
    const std::string path_ = folder_.file("a/trace");
};

TEST_F(TraceFiles, ReadsWhatItWrote) {
    const Trace written = small_trace();
    write_trace(path_, written);
    for (const char* ending : {"", "/", "/."}) {
        const Trace read = read_trace(path_ + ending);
        EXPECT_EQ(read.name, "trace");
        EXPECT_EQ(read.n_tokens, 2);
        EXPECT_EQ(read.n_layers, 2);
        EXPECT_EQ(read.top_k, 2);
        EXPECT_EQ(read.n_experts, 3);
        EXPECT_EQ(read.experts, written.experts);
        EXPECT_EQ(read.weights, written.weights);
        EXPECT_EQ(read.sequence, written.sequence);
        EXPECT_EQ(read.phase, written.phase);
        EXPECT_EQ(read.scores, written.scores);
        EXPECT_EQ(read.predicted, written.predicted);
    }
}

TEST_F(TraceFiles, OnlyTheExpertsAreNeeded) {
    Trace trace = small_trace();
    trace.weights.clear();
    trace.scores.clear();
    trace.predicted = {};
    write_trace(path_, trace);
    std::filesystem::remove(file("sequence.npy"));
    std::filesystem::remove(file("phase.npy"));
    const Trace read = read_trace(path_);
    EXPECT_TRUE(read.weights.empty());
    EXPECT_TRUE(read.scores.empty());
    EXPECT_EQ(read.sequence, (std::vector<std::int32_t>{0, 0}));
    EXPECT_EQ(read.phase, (std::vector<std::uint8_t>{1, 1}));
}

TEST_F(TraceFiles, NamesTheFilesThatItWrites) {
    Trace trace = small_trace();
    trace.predicted[1] = trace.predicted[2];
    write_trace(path_, trace);
    for (const std::string_view name : trace_files())
        EXPECT_TRUE(std::filesystem::remove(file(std::string(name).c_str()))) << name;
    EXPECT_TRUE(std::filesystem::is_empty(path_));
}

TEST_F(TraceFiles, ReadsARealOne) {
    const Trace trace = read_trace(test::test_data("traces/qwen3-30b-a3b-short").string());
    EXPECT_EQ(trace.n_tokens, 120);
    EXPECT_EQ(trace.n_layers, 12);
    EXPECT_EQ(trace.weights.size(), trace.experts.size());
    EXPECT_EQ(trace.experts[trace.row(0, 11)], Trace::kAbsent);
    EXPECT_LT(trace.experts[trace.row(119, 11)], 128);
}

TEST_F(TraceFiles, AFolderWithoutATraceIsSaid) { expect_refusal({"trace.json"}, ErrorKind::io); }

TEST_F(TraceFiles, HostileSizesAreRefused) {
    write_trace(path_, small_trace());
    for (const char* text :
         {"", "[]", "7", R"({"tokens": 2})", R"({"tokens": -2, "layers": 2, "k": 2, "n_expert": 3})",
          R"({"tokens": 1e99, "layers": 2, "k": 2, "n_expert": 3})",
          R"({"tokens": "2", "layers": 2, "k": 2, "n_expert": 3})",
          R"({"tokens": 2, "layers": 2, "k": 4, "n_expert": 3})",
          R"({"tokens": 2, "layers": 2, "k": 2, "n_expert": 99999999999})"}) {
        std::ofstream(file("trace.json")) << text;
        expect_refusal({"trace.json: found"});
    }
}

TEST_F(TraceFiles, ArraysOfAnotherShapeAreRefused) {
    write_trace(path_, small_trace());
    std::ofstream(file("trace.json")) << R"({"tokens": 3, "layers": 2, "k": 2, "n_expert": 3})";
    expect_refusal({"(2, 2, 2), expected (3, 2, 2)"});
}

TEST_F(TraceFiles, ExpertsThatTheLayerDoesNotHaveAreRefused) {
    Trace trace = small_trace();
    trace.experts[2] = 3;
    write_trace(path_, trace);
    expect_refusal({"experts.npy: token 0, layer 1: found expert 3"});
    trace.experts[2] = 1;
    write_trace(path_, trace);
    expect_refusal({"expert 1 twice"});
    trace.experts[2] = 2;
    trace.predicted[2][7] = 3;
    write_trace(path_, trace);
    expect_refusal({"predicted_3.npy: token 1, layer 1: found expert 3"});
    trace.experts[2] = Trace::kAbsent;
    write_trace(path_, trace);
    expect_refusal({"65535"});
}

}  // namespace
}  // namespace greenroom::cache
