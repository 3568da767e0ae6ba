// --ram and --stats, from outside: budgets that are kept or refused, figures, and disks that are slow or
// fail.

#include "tests/support/paths.h"
#include "tests/tools/subprocess.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <csignal>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace greenroom::test {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // takes memory of its own, besides what it is asked for
#else
constexpr bool kSanitized = false;
#endif

std::vector<std::string> run_on_demo_model(const std::vector<std::string>& flags) {
    std::vector<std::string> args = {"run", "-m", demo_model_file(),  "-t",     "1", "-c", "256", "-b",
                                     "16",  "-p", "In the beginning", "--temp", "0"};
    args.insert(args.end(), flags.begin(), flags.end());
    return args;
}

// With reads that go wrong as the rules say (cache/read_faults.h).
std::vector<std::string> with_faults(const std::string& rules, const std::vector<std::string>& flags) {
    std::vector<std::string> argv = {"/usr/bin/env", "GREENROOM_READ_FAULTS=" + rules};
    for (const std::string& arg : greenroom_argv(run_on_demo_model(flags))) argv.push_back(arg);
    return argv;
}

// In MiB, as the program says when it is given too little.
int least_ram() {
    const Finished refused = greenroom(run_on_demo_model({"--ram", "1MiB"}));
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_EQ(refused.out, "");
    const std::string before = "Use --ram ";
    const std::size_t at = refused.err.find(before);
    EXPECT_NE(at, std::string::npos) << refused.err;
    EXPECT_NE(refused.err.find("tiny-moe-Q4_K_M.gguf: needs at least "), std::string::npos) << refused.err;
    return at == std::string::npos ? 0 : std::stoi(refused.err.substr(at + before.size()));
}

TEST(MemoryFlags, TheLeastBudgetThatIsNamedWorksIsKeptAndChangesNothing) {
    const TempDir folder;
    const int least = least_ram();
    const std::string ram = std::to_string(least + (kSanitized ? 3 : 0)) + "MiB";
    const Finished tight = greenroom(
        run_on_demo_model({"-n", "24", "--ram", ram, "--stats", "--stats-json", folder.file("stats.json")}));
    ASSERT_EQ(tight.exit_code, 0) << tight.err;
    EXPECT_EQ(tight.out, greenroom(run_on_demo_model({"-n", "24", "-q"})).out);
    for (const char* figure : {"memory ", "experts ", "% hits of", "waited", "prefetched", "layer"})
        EXPECT_NE(tight.err.find(figure), std::string::npos) << figure << " in " << tight.err;

    const auto stats = nlohmann::json::parse(std::ifstream(folder.file("stats.json")));
    const auto& experts = stats.at("experts");
    EXPECT_LT(experts.at("resident"), experts.at("all"));
    EXPECT_GT(experts.at("misses").get<int>() + experts.at("late").get<int>(), 0);
    EXPECT_EQ(experts.at("policy"), "learned");
    EXPECT_EQ(stats.at("layers").size(), 5U);
    std::int64_t sum = 0;
    for (const auto& layer : stats.at("layers")) sum += layer.at("bytes_read").get<std::int64_t>();
    EXPECT_EQ(experts.at("bytes_read"), sum);
    EXPECT_EQ(stats.at("run").at("generated_tokens"), 24);
    if (!kSanitized) {
        EXPECT_LE(stats.at("run").at("peak_rss").get<double>(),
                  1.02 * stats.at("budget").at("total").get<double>());
    }
}

TEST(MemoryFlags, NonsenseIsBadUsage) {
    for (const std::vector<std::string>& flags :
         std::vector<std::vector<std::string>>{{"--ram", "0"},
                                               {"--ram", "much"},
                                               {"--ram", "101%"},
                                               {"--cache-policy", "best"},
                                               {"--cache-scope", "disk"},
                                               {"--prefetch-layers", "9"}}) {
        const Finished finished = greenroom(run_on_demo_model(flags));
        EXPECT_EQ(finished.exit_code, 2) << flags[0] << " " << flags[1];
        EXPECT_NE(finished.err.find(flags[0]), std::string::npos) << finished.err;
    }
}

TEST(MemoryFlags, NonsenseAboutTheGpuIsBadUsage) {
    const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
        {{"--vram", "0"}, "--vram: found '0'"},
        {{"--vram", "101%"}, "--vram: found '101%'"},
        {{"-ngl", "some"}, "--gpu-layers: found 'some'"},
        {{"-ngl", "-3"}, "--gpu-layers: found '-3'"},
        {{"-ncmoe", "-1"}, "--n-cpu-moe"},
        {{"-ot", "exps"}, "--override-tensor: found 'exps', expected PATTERN=CPU or PATTERN=CUDA0"},
        {{"-ot", "exps=CUDA1"}, "--override-tensor: found 'exps=CUDA1'"},
        {{"-ot", "(blk\\.1=CPU"}, "the pattern '(blk\\.1' is no regular expression"},
        {{"-ot", "exps=CPU,attn=CPU"}, "--override-tensor: attn=CPU matches blk.0.attn_"},
        {{"-dev", "CUDA1"}, "CUDA_VISIBLE_DEVICES"},
        {{"-ngl", "0", "--vram", "1G"}, "--vram: asks for the GPU, and --gpu-layers 0"},
        {{"-dev", "none", "--vram", "1G"}, "--vram: asks for the GPU, and --device none"},
        {{"-dev", "none", "-ngl", "99"}, "--gpu-layers: one of it and --device"},
        {{"-dev", "CUDA0", "-ngl", "0"}, "--gpu-layers: one of it and --device"},
    };
    for (const auto& [flags, message] : cases) {
        const Finished finished = greenroom(run_on_demo_model(flags));
        EXPECT_EQ(finished.exit_code, 2) << flags[0] << " " << flags[1];
        EXPECT_NE(finished.err.find(message), std::string::npos) << finished.err;
    }
}

TEST(MemoryFlags, FlagsThatLeaveTheGpuOutAreTakenWithoutOne) {
    const std::string expected = greenroom(run_on_demo_model({"-n", "4", "-q"})).out;
    for (const std::vector<std::string>& flags : std::vector<std::vector<std::string>>{
             {"-ngl", "0"}, {"-dev", "none"}, {"-ngl", "0", "-cmoe"}, {"-ngl", "0", "-ot", "exps=CPU"}}) {
        std::vector<std::string> all = {"-n", "4", "-q"};
        all.insert(all.end(), flags.begin(), flags.end());
        const Finished finished = greenroom(run_on_demo_model(all));
        EXPECT_EQ(finished.exit_code, 0) << finished.err;
        EXPECT_EQ(finished.out, expected);
    }
}

TEST(MemoryFlags, EveryPolicyGivesTheSameAnswer) {
    const std::string expected = greenroom(run_on_demo_model({"-n", "12", "-q"})).out;
    const std::string ram = std::to_string(least_ram() + (kSanitized ? 6 : 3)) + "MiB";
    for (const char* policy : {"learned", "decay", "lru", "lfu", "fifo", "random"})
        for (const char* scope : {"layer", "global"}) {
            const Finished finished = greenroom(run_on_demo_model(
                {"-n", "12", "-q", "--ram", ram, "--cache-policy", policy, "--cache-scope", scope}));
            EXPECT_EQ(finished.out, expected) << policy << " " << scope << " " << finished.err;
        }
}

TEST(MemoryFlags, AFailingDiskEndsTheAnswerWithAnErrorThatNamesTheFile) {
    const std::string ram = std::to_string(least_ram() + (kSanitized ? 4 : 1)) + "MiB";
    const Finished failed =
        Subprocess(with_faults("eio@*200", {"-n", "200", "--ignore-eos", "--ram", ram})).wait();
    EXPECT_EQ(failed.exit_code, 1);
    EXPECT_NE(failed.err.find("tiny-moe-Q4_K_M.gguf: cannot read"), std::string::npos) << failed.err;
}

TEST(MemoryFlags, InterruptEndsAnAnswerThatWaitsForTheDisk) {
    using namespace std::chrono_literals;
    const std::string ram = std::to_string(least_ram() + (kSanitized ? 4 : 1)) + "MiB";
    Subprocess process(with_faults("delay_ms=50@20+", {"-n", "200", "--ignore-eos", "--ram", ram}));
    std::this_thread::sleep_for(kSanitized ? 4000ms : 1500ms);
    const auto begin = std::chrono::steady_clock::now();
    process.send_signal(SIGINT);
    const Finished finished = process.wait();
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    EXPECT_NE(finished.err.find("interrupted"), std::string::npos) << finished.err;
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 20s);
}

}  // namespace
}  // namespace greenroom::test
