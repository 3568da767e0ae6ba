// greenroom logits, from outside: the arrays of the reference, and no half files.

#include "tests/support/npy.h"
#include "tests/support/paths.h"
#include "tests/tools/subprocess.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace greenroom::test {
namespace {

NpyArray<float> reference(const std::string& model, const std::string& name) {
    return load_npy<float>(test_data("oracle/mini/" + model + "/" + name + ".npy"));
}

std::string token_list(const std::string& model, const std::string& prompt) {
    std::string list;
    for (const std::int32_t id :
         load_npy<std::int32_t>(test_data("oracle/mini/" + model + "/tokens_" + prompt + ".npy")).values)
        list += (list.empty() ? "" : ",") + std::to_string(id);
    return list;
}

void expect_near(const NpyArray<float>& ours, const NpyArray<float>& theirs, float tolerance) {
    ASSERT_EQ(ours.shape, theirs.shape);
    float worst = 0;
    for (std::size_t i = 0; i < ours.values.size(); ++i) {
        const float difference = std::abs(ours.values[i] - theirs.values[i]);
        if (!(difference <= worst)) worst = difference;
    }
    EXPECT_LE(worst, tolerance);
}

// The folder holds these files and nothing else.
void expect_files(const std::filesystem::path& folder, std::size_t n_files) {
    const auto n = std::distance(std::filesystem::directory_iterator(folder), {});
    EXPECT_EQ(static_cast<std::size_t>(n), n_files) << folder;
}

// 1e-3: what shared references ask of exactly read weights (float32 sums in another order).
TEST(LogitsCommand, WritesTheReferencesArrays) {
    for (const char* model : {"deepseek2", "deepseek2-lite", "kimi-k2"}) {
        const TempDir folder;
        const Finished run = greenroom({"logits", "-m", mini_model(model), "--tokens",
                                        token_list(model, "p1"), "-b", "7", "-o", folder.file("logits.npy"),
                                        "--hidden", folder.file("a/b"), "--router", folder.file("r")});
        ASSERT_EQ(run.exit_code, 0) << run.err;
        EXPECT_EQ(run.out + run.err, "");
        expect_near(load_npy<float>(folder.file("logits.npy")), reference(model, "logits_p1"), 1e-3F);
        expect_near(load_npy<float>(folder.file("a/b/hidden.npy")), reference(model, "hidden_p1"), 1e-3F);
        expect_near(load_npy<float>(folder.file("r/router_weights.npy")),
                    reference(model, "router_weights_p1"), 1e-3F);
        for (const auto& [ours, theirs] :
             {std::pair{"router_ids", "router_ids_p1"}, {"router_layers", "router_layers"}}) {
            const auto array = load_npy<std::int32_t>(folder.file(std::string("r/") + ours + ".npy"));
            const auto expected = load_npy<std::int32_t>(
                test_data(std::string("oracle/mini/") + model + "/" + theirs + ".npy"));
            EXPECT_EQ(array.shape, expected.shape) << ours;
            EXPECT_EQ(array.values, expected.values) << ours;
        }
        expect_files(folder.path(), 3);
        expect_files(folder.file("r"), 3);
    }
}

TEST(LogitsCommand, ReadsLongPromptsFromAFile) {
    const TempDir folder;
    std::ofstream(folder.file("ids.txt")) << "  " << token_list("deepseek2", "p0") << "\n";
    const Finished run = greenroom({"logits", "-m", mini_model(), "--tokens", "@" + folder.file("ids.txt"),
                                    "-o", folder.file("logits.npy")});
    ASSERT_EQ(run.exit_code, 0) << run.err;
    expect_near(load_npy<float>(folder.file("logits.npy")), reference("deepseek2", "logits_p0"), 1e-3F);
}

// Integers unless asked for float32, which is the reference's arithmetic.
TEST(LogitsCommand, ActivationsAreOfTheKindThatIsAskedFor) {
    const std::string model = test_data("oracle/mini/gpt-oss/model-mxfp4.gguf").string();
    const auto logits = [&](const std::vector<std::string>& flags) {
        const TempDir folder;
        std::vector<std::string> args = {
            "logits", "-m", model, "--tokens", token_list("gpt-oss", "p0"), "-o", folder.file("logits.npy")};
        args.insert(args.end(), flags.begin(), flags.end());
        const Finished run = greenroom(args);
        EXPECT_EQ(run.exit_code, 0) << run.err;
        return load_npy<float>(folder.file("logits.npy"));
    };
    const auto exact = logits({"--activations", "f32"});
    expect_near(exact, reference("gpt-oss", "logits_yarn_truncate_false_p0"), 1e-3F);
    EXPECT_NE(logits({"--activations", "int16"}).values, exact.values);
    EXPECT_EQ(logits({}).values, exact.values) << "nothing is rounded unless asked for";
}

TEST(LogitsCommand, WhatFailsLeavesNoFileBehind) {
    const TempDir folder;
    const std::string out = folder.file("logits.npy");
    const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
        {{"--tokens", "1,512", "-o", out}, "512"},
        {{"--tokens", "1,2,3", "-o", out, "-c", "2"}, "context of 2"},
        {{"--tokens", "1", "-o", out, "-c", "100000"}, "100000"},
        {{"--tokens", "1", "-o", folder.file("no/such/folder/x.npy")}, "No such file"},
        {{"--tokens", "1", "-o", folder.path().string()}, "directory"},
        {{"--tokens", "1", "-o", out, "--hidden", "/dev/null/x"}, "/dev/null/x"},
    };
    for (const auto& [flags, named] : cases) {
        std::vector<std::string> args = {"logits", "-m", mini_model()};
        args.insert(args.end(), flags.begin(), flags.end());
        const Finished run = greenroom(args);
        EXPECT_EQ(run.exit_code, 1) << named;
        EXPECT_NE(run.err.find(named), std::string::npos) << run.err;
        expect_files(folder.path(), 0);
    }
}

TEST(LogitsCommand, DiskThatIsTooSmallKeepsTheOldFile) {
    const TempDir folder;
    std::ofstream(folder.file("logits.npy")) << "old";
    const std::string command = std::string("ulimit -f 1; exec '") + GREENROOM_BINARY + "' logits -m '" +
                                mini_model() + "' --tokens 1,2,3 -o '" + folder.file("logits.npy") + "'";
    const Finished run = Subprocess({"/bin/sh", "-c", command}).wait();
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_NE(run.err.find("logits.npy"), std::string::npos) << run.err;
    EXPECT_EQ(std::filesystem::file_size(folder.file("logits.npy")), 3U);
    expect_files(folder.path(), 1);
}

TEST(LogitsCommand, FullDeviceIsAnErrorAndStays) {
    if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
    const Finished run = greenroom({"logits", "-m", mini_model(), "--tokens", "1", "-o", "/dev/full"});
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_NE(run.err.find("/dev/full"), std::string::npos) << run.err;
    EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
}

}  // namespace
}  // namespace greenroom::test
