// greenroom bench, from outside: what is measured and how it is printed. Never how fast it was.

#include "tests/support/paths.h"
#include "tests/tools/subprocess.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <numeric>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace greenroom::test {
namespace {

using nlohmann::json;
using Row = std::vector<std::string>;

Finished bench(const std::vector<std::string>& flags, const std::string& model = mini_model()) {
    std::vector<std::string> args = {"bench", "-m", model};
    args.insert(args.end(), flags.begin(), flags.end());
    return greenroom(args);
}

std::string demo_model() { return demo_model_file(); }

// Of a bench that goes well.
std::string output(const std::vector<std::string>& flags, const std::string& model = mini_model()) {
    const Finished finished = bench(flags, model);
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    EXPECT_EQ(finished.err.find("error"), std::string::npos) << finished.err;
    return finished.out;
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

// The cells of a line of the table, without blanks around them.
Row cells_of(const std::string& line) {
    Row cells;
    std::istringstream in(line.substr(1));
    for (std::string cell; std::getline(in, cell, '|');)
        cells.push_back(cell.substr(cell.find_first_not_of(' '),
                                    cell.find_last_not_of(' ') - cell.find_first_not_of(' ') + 1));
    return cells;
}

std::vector<Row> table(const std::vector<std::string>& flags) {
    std::vector<Row> rows;
    for (const std::string& line : lines_of(output(flags))) {
        EXPECT_TRUE(line.starts_with("| ") && line.ends_with(" |")) << line;
        rows.push_back(cells_of(line));
        EXPECT_EQ(rows.back().size(), rows.front().size()) << line;
    }
    return rows;
}

// One column below the rule.
Row column(const std::vector<Row>& rows, const std::string& title) {
    const auto at = std::find(rows.front().begin(), rows.front().end(), title) - rows.front().begin();
    Row values;
    for (std::size_t i = 2; i < rows.size(); ++i) values.push_back(rows[i].at(static_cast<std::size_t>(at)));
    return values;
}

// RFC 4180, without line breaks in a value.
Row csv_values(const std::string& line) {
    Row values(1);
    bool quoted = false;
    for (std::size_t i = 0; i < line.size(); ++i) {
        if (line[i] == '"' && quoted && line[i + 1] == '"') {
            values.back() += line[++i];
        } else if (line[i] == '"') {
            quoted = !quoted;
        } else if (line[i] == ',' && !quoted) {
            values.emplace_back();
        } else {
            values.back() += line[i];
        }
    }
    EXPECT_FALSE(quoted) << line;
    return values;
}

TEST(BenchCommand, TableHasALineForEachTest) {
    const std::vector<Row> rows = table({"-p", "16", "-n", "4", "-t", "1", "-r", "2"});
    EXPECT_EQ(rows.at(0), (Row{"model", "size", "params", "backend", "threads", "test", "t/s"}));
    EXPECT_EQ(column(rows, "test"), (Row{"pp16", "tg4"}));
    EXPECT_EQ(column(rows, "model"), Row(2, "deepseek2 384.2 k BF16"));
    EXPECT_EQ(column(rows, "params"), Row(2, "384.2 k"));
    EXPECT_EQ(column(rows, "backend"), Row(2, "CPU"));
    EXPECT_EQ(column(rows, "threads"), Row(2, "1"));
    for (const std::string& speed : column(rows, "t/s")) EXPECT_NE(speed.find(" ± "), std::string::npos);
}

TEST(BenchCommand, ListsAndRepeatedFlagsGiveAllCombinations) {
    const std::vector<Row> rows =
        table({"-p",  "8,16", "-n", "0",  "-n", "2",  "-pg", "4,2",  "-pg",      "6,1", "-d",
               "0,8", "-t",   "1",  "-t", "2",  "-b", "4,8", "-ctk", "f16,q8_0", "-r",  "1"});
    const Row at_no_depth = {"pp8", "pp16", "tg2", "pp4+tg2", "pp6+tg1"};
    const Row tests = column(rows, "test");
    ASSERT_EQ(tests.size(), 5U * 2 * 2 * 2 * 2);
    for (std::size_t i = 0; i < tests.size(); ++i)
        EXPECT_EQ(tests[i], at_no_depth[i % 5] + (i / 5 % 2 == 1 ? " @ d8" : ""));
    EXPECT_EQ(column(rows, "threads").at(39), "1");
    EXPECT_EQ(column(rows, "threads").at(40), "2");
    EXPECT_EQ(column(rows, "batch-size").at(20), "8");
    EXPECT_EQ(column(rows, "cache-type-k").at(10), "q8_0");
}

TEST(BenchCommand, ThreadsForPromptsAreAColumnOfTheirOwn) {
    const std::vector<Row> rows =
        table({"-p", "8", "-n", "2", "-t", "1", "-tb", "1,3", "--cpu-strict", "1", "-r", "1"});
    EXPECT_EQ(column(rows, "threads"), Row(4, "1"));
    EXPECT_EQ(column(rows, "threads-batch"), (Row{"1", "1", "3", "3"}));
}

TEST(BenchCommand, ZeroSwitchesAKindOfTestOff) {
    EXPECT_EQ(column(table({"-p", "0", "-n", "2", "-r", "1"}), "test"), Row{"tg2"});
    EXPECT_EQ(column(table({"-p", "4", "-n", "0", "-r", "1"}), "test"), Row{"pp4"});
    EXPECT_EQ(column(table({"-p", "0", "-n", "0", "-pg", "4,1", "-r", "1"}), "test"), Row{"pp4+tg1"});
}

TEST(BenchCommand, JsonHoldsAllThatIsNeededToRepeatIt) {
    const json results = json::parse(output({"-p",  "16", "-n",   "4",    "-d",
                                             "8",   "-t", "1",    "-tb",  "2",
                                             "-b",  "8",  "-ctv", "q8_0", "--activations",
                                             "f32", "-r", "3",    "-o",   "json"}));
    ASSERT_EQ(results.size(), 2U);
    for (const json& result : results) {
        EXPECT_EQ(result.at("model_filename"), mini_model());
        EXPECT_EQ(result.at("model_type"), "deepseek2 384.2 k BF16");
        EXPECT_EQ(result.at("n_threads"), 1);
        EXPECT_EQ(result.at("n_threads_batch"), 2);
        EXPECT_EQ(result.at("n_batch"), 8);
        EXPECT_EQ(result.at("type_k"), "f16");
        EXPECT_EQ(result.at("type_v"), "q8_0");
        EXPECT_EQ(result.at("activations"), "f32");
        EXPECT_EQ(result.at("n_depth"), 8);
        EXPECT_EQ(result.at("warmup"), true);
        EXPECT_EQ(result.at("cache_policy"), "learned");
        EXPECT_EQ(result.at("n_experts"), result.at("n_experts_in_memory"));
        EXPECT_EQ(result.at("hit_rate"), 1.0);
        EXPECT_EQ(result.at("bytes_read"), 0);
        EXPECT_GT(result.at("peak_rss").get<std::int64_t>(), result.at("model_size").get<std::int64_t>());
        EXPECT_FALSE(result.at("build_version").get<std::string>().empty());
        EXPECT_FALSE(result.at("cpu_isa").get<std::string>().empty());
        EXPECT_EQ(result.at("test_time").get<std::string>().size(),
                  std::string("2025-01-01T00:00:00Z").size());
    }
    EXPECT_EQ(results[0].at("n_prompt"), 16);
    EXPECT_EQ(results[0].at("n_gen"), 0);
    EXPECT_EQ(results[1].at("n_prompt"), 0);
    EXPECT_EQ(results[1].at("n_gen"), 4);
}

TEST(BenchCommand, FiguresFollowFromTheSamples) {
    const json result =
        json::parse(output({"-pg", "6,2", "-p", "0", "-n", "0", "-r", "4", "-o", "json"})).at(0);
    const auto ns = result.at("samples_ns").get<std::vector<std::int64_t>>();
    const auto speeds = result.at("samples_ts").get<std::vector<double>>();
    ASSERT_EQ(ns.size(), 4U);
    ASSERT_EQ(speeds.size(), 4U);
    for (std::size_t i = 0; i < ns.size(); ++i) EXPECT_DOUBLE_EQ(speeds[i], 8e9 / static_cast<double>(ns[i]));
    const double mean_ns = std::accumulate(ns.begin(), ns.end(), 0.0) / 4;
    EXPECT_NEAR(result.at("avg_ns").get<double>(), mean_ns, 0.51);
    const double mean = std::accumulate(speeds.begin(), speeds.end(), 0.0) / 4;
    EXPECT_DOUBLE_EQ(result.at("avg_ts").get<double>(), mean);
    double squares = 0;
    for (const double speed : speeds) squares += (speed - mean) * (speed - mean);
    EXPECT_NEAR(result.at("stddev_ts").get<double>(), std::sqrt(squares / 3), 1e-6 * mean);
}

TEST(BenchCommand, CsvAndJsonlHaveTheFieldsOfJson) {
    const std::vector<std::string> flags = {"-p", "8", "-n", "2", "-r", "2", "-o"};
    const auto with = [&](const std::string& format) {
        std::vector<std::string> all = flags;
        all.push_back(format);
        return output(all);
    };
    const nlohmann::ordered_json object = nlohmann::ordered_json::parse(with("json")).at(0);
    Row keys;
    for (const auto& [key, value] : object.items()) keys.push_back(key);

    const std::vector<std::string> csv = lines_of(with("csv"));
    ASSERT_EQ(csv.size(), 3U);
    EXPECT_EQ(csv_values(csv[0]), keys);
    for (const std::size_t i : {1U, 2U}) {
        const Row values = csv_values(csv[i]);
        ASSERT_EQ(values.size(), keys.size()) << csv[i];
        const auto value = [&](const std::string& key) {
            return values.at(
                static_cast<std::size_t>(std::find(keys.begin(), keys.end(), key) - keys.begin()));
        };
        EXPECT_EQ(value("model_filename"), mini_model());
        EXPECT_EQ(value("n_prompt"), i == 1 ? "8" : "0");
        const std::string samples = value("samples_ns");
        EXPECT_EQ(std::count(samples.begin(), samples.end(), ' '), 1) << samples;
    }

    const std::vector<std::string> jsonl = lines_of(with("jsonl"));
    ASSERT_EQ(jsonl.size(), 2U);
    for (const std::string& line : jsonl) {
        const nlohmann::ordered_json found = nlohmann::ordered_json::parse(line);
        Row found_keys;
        for (const auto& [key, value] : found.items()) found_keys.push_back(key);
        EXPECT_EQ(found_keys, keys);
    }
}

TEST(BenchCommand, CsvQuotesWhatWouldBreakIt) {
    const TempDir folder;
    const std::string model = folder.file("a \"small\", odd name.gguf");
    std::filesystem::copy_file(mini_model(), model);
    const std::vector<std::string> csv =
        lines_of(output({"-p", "4", "-n", "0", "-r", "1", "-o", "csv"}, model));
    ASSERT_EQ(csv.size(), 2U);
    const Row values = csv_values(csv[1]);
    EXPECT_EQ(values.size(), csv_values(csv[0]).size());
    EXPECT_NE(std::find(values.begin(), values.end(), model), values.end());
}

// Three times 200 tokens do not fit into a context of 256, nor into a session for 200.
TEST(BenchCommand, RepetitionsBeginWithAnEmptyContext) {
    for (const char* model : {"deepseek2", "qwen35moe"})
        EXPECT_EQ(lines_of(output({"-p", "200", "-n", "0", "-r", "3"}, mini_model(model))).size(), 3U);
    EXPECT_EQ(
        lines_of(output({"-p", "100", "-n", "20", "-d", "100", "-r", "2"}, mini_model("qwen35moe"))).size(),
        4U);
}

// With a little more memory than the least that these tests of the demo model take, in MiB: some experts stay
// on the disk.
int small_budget(const std::vector<std::string>& flags) {
    std::vector<std::string> all = flags;
    all.insert(all.end(), {"--ram", "1MiB"});
    const Finished refused = bench(all, demo_model());
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_EQ(refused.out, "");
    const std::string before = "Use --ram ";
    const std::size_t at = refused.err.find(before);
    EXPECT_NE(at, std::string::npos) << refused.err;
    constexpr int kMore = 5;  // the program itself does not take exactly the same every time
    return at == std::string::npos ? 0 : std::stoi(refused.err.substr(at + before.size())) + kMore;
}

TEST(BenchCommand, BudgetsAreComparedWithTheirHits) {
    const int small = small_budget({"-p", "8", "-n", "8"});
    const std::string budgets = fmt::format("{}MiB,{}MiB", small, small + 100);
    const json results = json::parse(
        output({"-p", "8", "-n", "8", "-r", "2", "--ram", budgets, "--cache-policy", "lru", "-o", "json"},
               demo_model()));
    ASSERT_EQ(results.size(), 4U);
    for (std::size_t i = 0; i < results.size(); ++i) {
        const bool is_small = i < 2;
        EXPECT_EQ(results[i].at("cache_policy"), "lru");
        EXPECT_EQ(results[i].at("n_experts_in_memory") == results[i].at("n_experts"), !is_small);
        EXPECT_EQ(results[i].at("hit_rate") == 1.0, !is_small);
        EXPECT_EQ(results[i].at("bytes_read") == 0, !is_small);
    }
    const std::vector<std::string> lines =
        lines_of(output({"-p", "0", "-n", "8", "-r", "1", "--ram", budgets}, demo_model()));
    EXPECT_NE(lines.at(0).find(" ram |"), std::string::npos) << lines[0];
    EXPECT_NE(lines.at(0).find(" hits |"), std::string::npos) << lines[0];
    EXPECT_NE(lines.at(3).find(" 100.0 % |"), std::string::npos) << lines[3];
}

TEST(BenchCommand, WithoutWarmupExpertsAreReadWhileTheClockRuns) {
    const json result = json::parse(output({"-p", "16", "-n", "0", "-r", "1", "--no-warmup", "-o", "jsonl"}));
    EXPECT_EQ(result.at("warmup"), false);
    EXPECT_LT(result.at("hit_rate"), 1.0);
    EXPECT_GT(result.at("bytes_read"), 0);
}

TEST(BenchCommand, TestsThatDoNotFitIntoTheModelsContextAreBadUsage) {
    const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
        {{}, "--n-prompt: found pp512"},
        {{"-p", "0", "-n", "257"}, "--n-gen: found tg257"},
        {{"-p", "8", "-n", "8", "-d", "0,250"}, "--n-depth: found pp8 @ d250, which takes 258"},
        {{"-p", "8", "-n", "8", "-pg", "256,1"}, "--n-prompt-gen: found pp256+tg1"},
    };
    for (const auto& [flags, message] : cases) {
        const Finished finished = bench(flags);
        EXPECT_EQ(finished.exit_code, 2);
        EXPECT_EQ(finished.out, "");
        EXPECT_NE(finished.err.find(message), std::string::npos) << finished.err;
        EXPECT_NE(finished.err.find("at most 256"), std::string::npos) << finished.err;
    }
}

TEST(BenchCommand, AFailingDiskEndsItWithTheResultsSoFar) {
    const std::vector<std::string> tests = {"-p", "0", "-n", "1,500", "-r", "1", "-t", "1"};
    std::vector<std::string> args = {"bench", "-m", demo_model(), "-o", "json"};
    args.insert(args.end(), tests.begin(), tests.end());
    args.insert(args.end(), {"--ram", fmt::format("{}MiB", small_budget(tests))});
    std::vector<std::string> argv = {"/usr/bin/env", "GREENROOM_READ_FAULTS=eio@*500"};
    for (const std::string& arg : greenroom_argv(args)) argv.push_back(arg);
    const Finished finished = Subprocess(argv).wait();
    EXPECT_EQ(finished.exit_code, 1) << finished.err;
    EXPECT_NE(finished.err.find("tiny-moe-Q4_K_M.gguf: cannot read"), std::string::npos) << finished.err;
    EXPECT_EQ(json::parse(finished.out).size(), 1U) << finished.out;
}

TEST(BenchCommand, InterruptEndsItWithTheResultsSoFar) {
    std::string lengths = "8";
    for (int i = 0; i < 999; ++i) lengths += ",1000";  // for many minutes
    Subprocess process(greenroom_argv(
        {"bench", "-m", demo_model(), "-p", lengths, "-n", "0", "-r", "1", "-t", "1", "-o", "json"}));
    using namespace std::chrono_literals;
    for (int i = 0; i < 3000 && process.out().empty(); ++i) std::this_thread::sleep_for(10ms);
    process.send_signal(SIGINT);
    const Finished finished = process.wait();
    EXPECT_EQ(finished.exit_code, 1);
    const std::size_t n_done = json::parse(finished.out).size();
    EXPECT_GE(n_done, 1U);
    EXPECT_NE(finished.err.find(fmt::format("interrupted after {} of 1000 tests", n_done)), std::string::npos)
        << finished.err;
}

}  // namespace
}  // namespace greenroom::test
