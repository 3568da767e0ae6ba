// The flags of the GPU and what is told about it, from outside: the program itself with the emulated device
// in the place of a real one, so that everything but the device is what users have. Answers are those of the
// CPU.

#include "quant/gguf.h"
#include "runtime/gpu_lane.h"
#include "runtime/profile.h"
#include "tests/support/paths.h"
#include "tests/tools/subprocess.h"
#include "tools/profile_file.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace greenroom::test {
namespace {

using nlohmann::json;
using Flags = std::vector<std::string>;

Flags operator+(Flags flags, const Flags& more) {
    flags.insert(flags.end(), more.begin(), more.end());
    return flags;
}

// With so many bytes of VRAM; 0: no GPU; "": as many as the emulation has by itself.
Finished with_vram(const std::string& bytes, const Flags& args) {
    Flags argv = {"/usr/bin/env"};
    if (!bytes.empty()) argv.push_back("GREENROOM_EMULATED_VRAM=" + bytes);
    return Subprocess(argv + greenroom_argv(args)).wait();
}

// Rounded nowhere, so that the CPU and the GPU choose the same tokens.
Flags run_args(const std::string& model, const Flags& flags) {
    return Flags{"run",
                 "-m",
                 mini_model(model),
                 "-t",
                 "1",
                 "-c",
                 "64",
                 "-b",
                 "8",
                 "-p",
                 "In the",
                 "-n",
                 "12",
                 "--temp",
                 "0",
                 "-ctk",
                 "f32",
                 "-ctv",
                 "f32",
                 "--activations",
                 "f32"} +
           flags;
}

Finished run(const Flags& flags, const std::string& model = "deepseek2") {
    return with_vram("", run_args(model, flags));
}

std::string cpu_answer(const std::string& model = "deepseek2") {
    const Finished finished = run({"-ngl", "0", "-q"}, model);
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    EXPECT_EQ(finished.err, "");
    EXPECT_FALSE(finished.out.empty());
    return finished.out;
}

// Figures of a run that gives the CPU's answer.
json stats(const Flags& flags, const std::string& model = "deepseek2") {
    const TempDir folder;
    const Finished finished = run(flags + Flags{"--stats-json", folder.file("stats.json")}, model);
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    EXPECT_EQ(finished.out, cpu_answer(model));
    return json::parse(std::ifstream(folder.file("stats.json")));
}

// For all layers, in MiB, as the program says when it is given too little.
double needed_mib(const std::string& err) {
    double sum = 0;
    for (const std::string before : {"layers need ", "token needs and "}) {
        const std::size_t at = err.find(before);
        EXPECT_NE(at, std::string::npos) << err;
        if (at != std::string::npos) sum += std::stod(err.substr(at + before.size()));
    }
    return sum;
}

TEST(GpuFlags, TheGpuIsTakenByItselfAndSaid) {
    for (const char* model : {"deepseek2", "qwen3moe", "qwen35moe"}) {
        const Finished finished = run({}, model);
        EXPECT_EQ(finished.exit_code, 0) << finished.err;
        EXPECT_EQ(finished.out, cpu_answer(model)) << model;
        EXPECT_EQ(finished.err.find("greenroom: on Emulated device: all "), 0U) << finished.err;
        EXPECT_EQ(run({"-q"}, model).err, "");
    }
}

// The emulated link is as fast as it happens to be: how soon an expert that is called is in VRAM, and so who
// computes how many calls, is another thing in each run.
const Flags kSplit = {"--stream-above", "off"};

TEST(GpuFlags, StatsSayWhatTheGpuHadOfIt) {
    const json all = stats(kSplit);
    const json& gpu = all.at("gpu");
    EXPECT_EQ(gpu.at("device"), "Emulated device");
    EXPECT_GT(gpu.at("vram_budget"), gpu.at("vram_used"));
    EXPECT_GT(gpu.at("resident_weights"), 0);
    EXPECT_EQ(gpu.at("n_slots"), all.at("experts").at("all"));
    EXPECT_GT(gpu.at("on_stage"), 0);
    EXPECT_GT(gpu.at("hits"), 0);
    EXPECT_GT(gpu.at("misses"), 0);
    EXPECT_GT(gpu.at("uploads"), 0);
    EXPECT_GT(gpu.at("bytes_uploaded"), 0);
    EXPECT_GT(gpu.at("bytes_of_activations"), 0);
    const double n_cpu = gpu.at("cpu_calls");
    const double n_gpu = gpu.at("gpu_calls");
    EXPECT_GT(n_gpu, 0);
    EXPECT_DOUBLE_EQ(gpu.at("cpu_share"), n_cpu / (n_cpu + n_gpu));

    const Finished told = run({"--stats"});
    for (const char* figure : {"vram ", "on Emulated device", "on stage ", "% hits of", "uploads", "PCIe "})
        EXPECT_NE(told.err.find(figure), std::string::npos) << figure << " in " << told.err;
    for (const char* figure : {"upload_share", "stream_above", "tuned", "staging", "batches_streamed"})
        EXPECT_TRUE(gpu.contains(figure)) << figure;
    EXPECT_FALSE(stats({"-ngl", "0"}).contains("gpu"));
}

struct PinnedLimit {
    explicit PinnedLimit(std::int64_t bytes) {
        ::setenv("GREENROOM_EMULATED_PINNED", std::to_string(bytes).c_str(), 1);
    }
    ~PinnedLimit() { ::unsetenv("GREENROOM_EMULATED_PINNED"); }
};

// Where less and less can be pinned, until it is less than all.
TEST(GpuFlags, StatsSayHowExpertsCameOverTheLink) {
    const Flags streamed = {"--stream-above", "0"};
    const json all = stats(streamed).at("gpu");
    EXPECT_GT(all.at("ram_slots"), 0);
    EXPECT_EQ(all.at("ram_slots_pinned"), all.at("ram_slots"));
    EXPECT_EQ(all.at("ram_ring"), 0);
    EXPECT_EQ(all.at("bytes_staged"), 0);
    EXPECT_EQ(all.at("bytes_pageable"), 0);

    json some = all;
    std::string told;
    for (std::int64_t bytes = 4 << 20; some.at("ram_slots_pinned") == some.at("ram_slots");
         bytes -= bytes / 8) {
        ASSERT_GT(bytes, 1 << 16);
        const PinnedLimit limit(bytes);
        some = stats(streamed).at("gpu");
        told = run(streamed + Flags{"--stats"}).err;
    }
    EXPECT_GT(some.at("ram_ring"), 0);
    EXPECT_GT(some.at("bytes_staged"), 0);
    EXPECT_EQ(some.at("bytes_pageable"), 0);
    for (const char* part :
         {"experts in RAM: ", "ulimit -l", " staged, ", "pinned    ", "the rest is copied through"})
        EXPECT_NE(told.find(part), std::string::npos) << part << " in " << told;
}

TEST(GpuFlags, ExpertsStayWithTheCpuWhereTheyAreToldTo) {
    for (const Flags& flags : {Flags{"-cmoe"}, Flags{"--cpu-moe"}, Flags{"-ncmoe", "99"}}) {
        const json gpu = stats(flags + kSplit).at("gpu");
        EXPECT_EQ(gpu.at("n_slots"), 0);
        EXPECT_EQ(gpu.at("uploads"), 0);
        EXPECT_EQ(gpu.at("cpu_share"), 1.0);
    }
    const json every = stats(kSplit).at("gpu");
    const json some = stats(Flags{"-ncmoe", "2"} + kSplit).at("gpu");
    EXPECT_LT(some.at("n_slots"), every.at("n_slots"));
    EXPECT_GT(some.at("n_slots"), 0);
    EXPECT_GT(some.at("hits"), 0);
    EXPECT_GE(some.at("cpu_share"), 0.5) << "of two layers with experts, one";
}

// Of deepseek2, which has three layers.
TEST(GpuFlags, LayersAreSplitWhereTheyAreToldTo) {
    const std::vector<std::pair<Flags, int>> cases = {{{"-ngl", "1"}, 1},           {{"-ngl", "2"}, 2},
                                                      {{"--n-gpu-layers", "3"}, 3}, {{"-ngl", "4"}, 4},
                                                      {{"-ngl", "99"}, 4},          {{"-ngl", "all"}, 4}};
    for (const auto& [flags, n] : cases) {
        const json all = stats(flags);
        EXPECT_EQ(all.at("gpu").at("n_gpu_layers"), n) << flags[1];
        EXPECT_EQ(all.at("budget").at("resident_weights") == 0, n == 4) << flags[1];
    }
    EXPECT_NE(run({"-ngl", "3"}).err.find("2 of 3 layers and the output (-ngl 3)"), std::string::npos);
    EXPECT_NE(run({"-ngl", "2", "--stats"}).err.find("1 of 3 layers and the output (-ngl 2)"),
              std::string::npos);
    EXPECT_NE(run({"-ngl", "1"}).err.find("the output alone (-ngl 1)"), std::string::npos);
}

TEST(GpuFlags, LayersThatDoNotFitStayWithTheCpuUnlessTheyAreAskedFor) {
    // The least that is enough, to 16 KiB: less than a layer.
    const auto vram_for = [](const std::string& n_layers) {
        int kib = 16;
        while (run({"-ngl", n_layers, "--vram", std::to_string(kib) + "K"}).exit_code != 0) kib += 16;
        return std::to_string(kib) + "K";
    };
    const std::string for_one = vram_for("2");
    const Finished chosen = run({"--vram", for_one});
    EXPECT_EQ(chosen.exit_code, 0) << chosen.err;
    EXPECT_EQ(chosen.out, cpu_answer());
    EXPECT_NE(chosen.err.find("1 of 3 layers and the output (-ngl 2)"), std::string::npos) << chosen.err;
    for (const char* n_layers : {"3", "99", "all"}) {
        const Finished refused = run({"-ngl", n_layers, "--vram", for_one});
        EXPECT_EQ(refused.exit_code, 1) << n_layers;
        EXPECT_NE(refused.err.find("Use -ngl 2 or less"), std::string::npos) << refused.err;
    }
    EXPECT_EQ(stats({"-ngl", "2", "--vram", for_one}).at("gpu").at("n_gpu_layers"), 2);
    const Finished refused = run({"--vram", vram_for("1")});
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_NE(refused.err.find("a single layer and the output need"), std::string::npos) << refused.err;
}

TEST(GpuFlags, RulesForTensorsSayWhichLayersExpertsComeToTheGpu) {
    const auto n_slots = [](const Flags& flags) { return stats(flags).at("gpu").at("n_slots").get<int>(); };
    const int all = n_slots({});
    EXPECT_EQ(n_slots({"-ot", "exps=CPU"}), 0);
    EXPECT_EQ(n_slots({"-ot", R"(blk\.1\.ffn_.*_exps=CPU)"}), all / 2);
    EXPECT_EQ(n_slots({"-cmoe", "-ot", R"(blk\.2\.ffn_.*_exps=CUDA0)"}), all / 2);
    EXPECT_EQ(n_slots({"-ncmoe", "2", "-ngl", "3"}), n_slots({"-ot", R"(blk\.1\..*exps=CPU)", "-ngl", "3"}));
    EXPECT_EQ(n_slots({"-ngl", "2"}), all / 2);

    const Finished nothing = run({"-ot", R"(blk\.99\..*=CPU)"});
    EXPECT_EQ(nothing.exit_code, 0);
    EXPECT_NE(nothing.err.find("warning: blk\\.99\\..*=CPU matches no tensor"), std::string::npos)
        << nothing.err;
    const Finished other = run({"-ot", "attn_output=CPU"});
    EXPECT_EQ(other.exit_code, 2);
    EXPECT_NE(other.err.find("use -ngl N"), std::string::npos) << other.err;
}

TEST(GpuFlags, PromptsAreStreamedAboveWhatIsAskedFor) {
    for (const Flags& slots : {Flags{}, Flags{"-cmoe"}}) {
        const json gpu = stats(slots + Flags{"--stream-above", "0"}).at("gpu");
        EXPECT_EQ(gpu.at("stream_above"), 0);
        EXPECT_EQ(gpu.at("batches_streamed"), 1);
        EXPECT_GT(gpu.at("bytes_streamed"), 0);
        EXPECT_GT(gpu.at("staging"), 0);
        EXPECT_GT(gpu.at("gpu_calls"), 0);
        const json split = stats(slots + kSplit).at("gpu");
        EXPECT_TRUE(split.at("stream_above").is_null());
        EXPECT_EQ(split.at("batches_streamed"), 0);
        EXPECT_EQ(split.at("bytes_streamed"), 0);
        EXPECT_EQ(split.at("staging"), 0);
        EXPECT_EQ(split.at("gpu_calls") == 0, !slots.empty());
    }
    const std::string told = run({"--stats", "--stream-above", "0"}).err;
    EXPECT_NE(told.find("streamed  1 batches, "), std::string::npos) << told;
    EXPECT_NE(told.find("above 0.0 tokens per expert, through "), std::string::npos) << told;
    EXPECT_NE(run(Flags{"--stats"} + kSplit).err.find("of experts; off"), std::string::npos);

    const Finished wrong = run({"--stream-above", "-1"});
    EXPECT_EQ(wrong.exit_code, 2);
    EXPECT_NE(wrong.err.find("--stream-above: found '-1'"), std::string::npos) << wrong.err;
    EXPECT_NE(wrong.err.find(", or off"), std::string::npos) << wrong.err;
}

TEST(GpuFlags, BenchComparesStreamingWithTheSplit) {
    const Finished finished = with_vram("", {"bench", "-m", mini_model(), "-t", "1", "-p", "16", "-n", "0",
                                             "-r", "1", "-b", "8", "--stream-above", "0,off", "-o", "json"});
    ASSERT_EQ(finished.exit_code, 0) << finished.err;
    const json results = json::parse(finished.out);
    ASSERT_EQ(results.size(), 2U);
    EXPECT_EQ(results[0].at("stream_above"), 0);
    EXPECT_EQ(results[0].at("batches_streamed"), 2);
    EXPECT_GT(results[0].at("bytes_streamed"), 0);
    EXPECT_EQ(results[0].at("cpu_share"), 0);
    EXPECT_TRUE(results[1].at("stream_above").is_null());
    EXPECT_EQ(results[1].at("batches_streamed"), 0);
}

// What a profile says, or what the start has measured itself.
TEST(GpuFlags, TheSplitGoesByTheProfileOrIsMeasuredAtTheStart) {
    if (!runtime::GpuLane::is_built() && std::filesystem::exists("/proc/driver/nvidia/gpus"))
        GTEST_SKIP() << "a build without CUDA does not know the GPU of which the program's profile is";
    const TempDir folder;
    ::setenv("XDG_DATA_HOME", folder.path().c_str(), 1);
    const json measured = stats({}).at("gpu");
    EXPECT_EQ(measured.at("tuned"), "start");
    EXPECT_GT(measured.at("upload_share"), 0);
    EXPECT_LE(measured.at("upload_share"), 1);
    EXPECT_GE(measured.at("stream_above").is_null() ? 1.0 : measured.at("stream_above").get<double>(), 1);
    EXPECT_NE(run({"--stats"}).err.find("of misses (as measured at the start)"), std::string::npos);

    runtime::Profile profile;
    profile.key = runtime::profile_key(quant::Gguf::open(mini_model("deepseek2")));
    profile.measured.gpu = runtime::GpuMeasurements{.pinned_upload = 1};
    profile.tuning = {
        .n_threads = 1, .batch_tokens = 8, .gpu = {.upload_share = 0.125, .crossover_tokens = 7.5}};
    const std::string path = tools::profile_path(profile.key);
    tools::save_profile(path, profile);
    const json from_profile = stats({}).at("gpu");
    EXPECT_EQ(from_profile.at("tuned"), "profile");
    EXPECT_EQ(from_profile.at("upload_share"), 0.125);
    EXPECT_EQ(from_profile.at("stream_above"), 7.5);
    EXPECT_EQ(stats({"--stream-above", "3"}).at("gpu").at("stream_above"), 3);
    const std::string told = run({"--stats"}).err;
    EXPECT_NE(told.find("from the profile " + path), std::string::npos) << told;
    EXPECT_NE(told.find("uploads for 12 % of misses (as the profile says)"), std::string::npos) << told;
    ::unsetenv("XDG_DATA_HOME");
}

TEST(GpuFlags, ALittleVramHoldsSomeExpertsAndTooLittleIsRefusedWithTheParts) {
    const Finished refused = run({"-ngl", "all", "--vram", "64K"});
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_EQ(refused.out, "");
    for (const char* part :
         {"the model's 3 layers", "every token needs", "for the context", "is what --vram allows", "-ngl 0"})
        EXPECT_NE(refused.err.find(part), std::string::npos) << part << " in " << refused.err;

    const auto least_kib = static_cast<int>(needed_mib(refused.err) * 1024);
    const json gpu = stats(Flags{"--vram", std::to_string(least_kib + 200) + "K"} + kSplit).at("gpu");
    EXPECT_EQ(gpu.at("vram_budget"), (least_kib + 200) * 1024);
    EXPECT_LE(gpu.at("vram_used"), gpu.at("vram_budget"));
    EXPECT_GT(gpu.at("n_slots"), 0);
    EXPECT_LT(gpu.at("n_slots"), stats({}).at("gpu").at("n_slots"));
    EXPECT_GT(gpu.at("cpu_calls"), 0);

    const json half = stats({"--vram", "50%"}).at("gpu");
    EXPECT_LT(half.at("vram_budget"), stats({"--vram", "100%"}).at("gpu").at("vram_budget"));
}

TEST(GpuFlags, WithoutAGpuTheCpuDoesItAndSaysWhy) {
    const Finished finished = with_vram("0", run_args("deepseek2", {}));
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    EXPECT_EQ(finished.out, cpu_answer());
    EXPECT_EQ(finished.err.find("greenroom: the CPU alone: no GPU can be used: "), 0U) << finished.err;
    EXPECT_EQ(with_vram("0", run_args("deepseek2", {"-ngl", "0"})).err.find("loaded in"), 0U);

    const Finished small = with_vram("100000", run_args("deepseek2", {}));
    EXPECT_EQ(small.exit_code, 0) << small.err;
    EXPECT_EQ(small.out, finished.out);
    EXPECT_NE(small.err.find("the CPU alone: "), std::string::npos) << small.err;
    EXPECT_NE(small.err.find("can be had"), std::string::npos) << small.err;
}

TEST(GpuFlags, AGpuThatIsAskedForAndMissingIsAnErrorThatSaysWhy) {
    for (const Flags& flags : {Flags{"--vram", "1G"}, Flags{"--vram", "50%"}, Flags{"-ngl", "99"},
                               Flags{"-ngl", "all"}, Flags{"-dev", "CUDA0"}}) {
        const Finished finished = with_vram("0", run_args("deepseek2", flags));
        EXPECT_EQ(finished.exit_code, 1) << flags[0];
        EXPECT_EQ(finished.out, "");
        EXPECT_NE(finished.err.find("no GPU can be used: "), std::string::npos) << finished.err;
        EXPECT_NE(finished.err.find("-ngl 0"), std::string::npos) << finished.err;
    }
    const Finished greedy = run({"--vram", "1T"});
    EXPECT_EQ(greedy.exit_code, 1);
    EXPECT_NE(greedy.err.find("--vram: 1048576.0 MiB asked for"), std::string::npos) << greedy.err;
}

TEST(GpuFlags, BenchHasTheFiguresOfTheGpu) {
    const Flags args = {"bench", "-m", mini_model(), "-t", "1", "-p", "8", "-n", "8", "-r", "2"};
    const Finished finished = with_vram("", args + Flags{"-o", "json", "-ncmoe", "0,99"} + kSplit);
    ASSERT_EQ(finished.exit_code, 0) << finished.err;
    const json results = json::parse(finished.out);
    ASSERT_EQ(results.size(), 4U);
    for (std::size_t i = 0; i < results.size(); ++i) {
        const json& result = results[i];
        EXPECT_EQ(result.at("backends"), "CUDA");
        EXPECT_EQ(result.at("gpu_info"), "Emulated device");
        EXPECT_GT(result.at("vram_budget"), result.at("vram_used"));
        EXPECT_GT(result.at("pcie_bytes"), 0);
        EXPECT_EQ(result.at("n_gpu_layers"), 4);
        EXPECT_EQ(result.at("n_experts_in_vram") == 0, i >= 2);
        if (i == 0) continue;  // its few batches may be over before an expert is there
        EXPECT_EQ(result.at("vram_hit_rate") == 0.0, i >= 2);
        EXPECT_EQ(result.at("cpu_share") == 1.0, i >= 2);
    }

    const Finished table = with_vram("", args + Flags{"--vram", "50%"});
    EXPECT_NE(table.out.find("| CUDA "), std::string::npos) << table.out;
    for (const char* title : {" vram |", " vram hits |"})
        EXPECT_NE(table.out.find(title), std::string::npos) << table.out;

    const json cpu = json::parse(with_vram("", args + Flags{"-o", "json", "-ngl", "0"}).out).at(0);
    EXPECT_EQ(cpu.at("backends"), "CPU");
    for (const char* figure :
         {"gpu_info", "n_gpu_layers", "vram_budget", "vram_hits", "pcie_bytes", "cpu_share"})
        EXPECT_TRUE(cpu.at(figure).is_null()) << figure;
}

TEST(GpuFlags, OtherCommandsUseTheGpuToo) {
    const TempDir folder;
    std::ofstream(folder.file("text.txt")) << "In the beginning was the word, and the word was there.";
    const auto output = [&](const Flags& args) {
        const Finished finished = with_vram("", args);
        EXPECT_EQ(finished.exit_code, 0) << finished.err;
        return finished.out;
    };
    const Flags perplexity = {"perplexity", "-m",   mini_model(),    "-f",    folder.file("text.txt"),
                              "-c",         "8",    "--activations", "f32",   "-ctk",
                              "f32",        "-ctv", "f32",           "--json"};
    EXPECT_NEAR(json::parse(output(perplexity)).at("perplexity").get<double>(),
                json::parse(output(perplexity + Flags{"-ngl", "0"})).at("perplexity").get<double>(), 1e-2);
    output({"logits", "-m", mini_model(), "--tokens", "1,2,3", "-o", folder.file("logits.npy"), "-cmoe"});
    EXPECT_FALSE(std::ifstream(folder.file("logits.npy")).fail());
}

}  // namespace
}  // namespace greenroom::test
