// greenroom simulate, from outside.

#include "cache/policies.h"
#include "tests/support/paths.h"
#include "tests/tools/subprocess.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

namespace greenroom::test {
namespace {

Finished simulate(std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"simulate", "--trace", test_data("traces/qwen3-30b-a3b-short").string()});
    return greenroom(flags);
}

TEST(SimulateCommand, PrintsATable) {
    const Finished run = simulate({"--policy", "lru,belady", "--scope", "layer", "--sizes", "25,100"});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_TRUE(run.out.starts_with("qwen3-30b-a3b-short: 120 tokens, 12 layers, 6 of 128 experts\n"))
        << run.out;
    EXPECT_NE(run.out.find("    25 %   100 %\nlru       layer "), std::string::npos) << run.out;
    EXPECT_NE(run.out.find("\nbelady    layer "), std::string::npos) << run.out;
    EXPECT_EQ(run.out.find("tokens/s"), std::string::npos) << run.out;
}

TEST(SimulateCommand, JsonHasAnEntryPerPolicyScopeAndSize) {
    const nlohmann::json list = nlohmann::json::parse(simulate({"--sizes", "20..30", "--json"}).out);
    EXPECT_EQ(list.size(), (cache::policy_names().size() + 1) * 2 * 3);
    std::set<double> sizes;
    int n_default = 0;
    for (const nlohmann::json& entry : list) {
        sizes.insert(entry.at("size").get<double>());
        EXPECT_GT(entry.at("hit_rate"), 0.5);
        EXPECT_LT(entry.at("hit_rate"), 1);
        EXPECT_EQ(entry.at("trace"), "qwen3-30b-a3b-short");
        EXPECT_FALSE(entry.contains("tokens_per_s"));
        if (!entry.at("default")) continue;
        ++n_default;
        EXPECT_EQ(entry.at("policy"), cache::kDefaultPolicy);
        EXPECT_EQ(entry.at("scope"), cache::scope_name(cache::kDefaultScope));
    }
    EXPECT_EQ(sizes, (std::set<double>{0.20, 0.25, 0.30}));
    EXPECT_EQ(n_default, 3);
}

TEST(SimulateCommand, TheSlowerSideGivesTheSpeed) {
    const auto tokens_per_s = [](const char* hit_gbs, const char* miss_gbs) {
        const nlohmann::json entry =
            nlohmann::json::parse(
                simulate({"--policy", "lru", "--scope", "layer", "--sizes", "50", "--json", "--expert-mib",
                          "2", "--hit-gbs", hit_gbs, "--miss-gbs", miss_gbs})
                    .out)
                .at(0);
        return std::pair{entry.at("hit_rate").get<double>(), entry.at("tokens_per_s").get<double>()};
    };
    const double routed_bytes = 2 * 0x1p20 * 12 * 6;
    const auto [hit_rate, slow_misses] = tokens_per_s("800", "1");
    EXPECT_NEAR(slow_misses, 1e9 / (routed_bytes * (1 - hit_rate)), 1e-6 * slow_misses);
    const double slow_hits = tokens_per_s("1", "800").second;
    EXPECT_NEAR(slow_hits, 1e9 / (routed_bytes * hit_rate), 1e-6 * slow_hits);
}

TEST(SimulateCommand, ForesightIsOfThoseWhoCannotSeeTheFuture) {
    const std::vector<std::string> flags{"--policy", "learned,belady", "--sizes", "25", "--foresight"};
    const Finished run = simulate(flags);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    const std::string rows = run.out.substr(std::min(run.out.find("misses foreseen, %"), run.out.size()));
    EXPECT_NE(rows.find("\nlearned   layer "), std::string::npos) << run.out;
    EXPECT_EQ(rows.find("belady"), std::string::npos) << run.out;
    std::vector<std::string> as_json = flags;
    as_json.emplace_back("--json");
    for (const nlohmann::json& entry : nlohmann::json::parse(simulate(as_json).out)) {
        EXPECT_EQ(entry.contains("foreseen"), entry.at("policy") != "belady");
        if (!entry.contains("foreseen")) continue;
        EXPECT_GT(entry.at("foreseen"), 0.05);
        EXPECT_LT(entry.at("foreseen"), 1);
    }
}

TEST(SimulateCommand, PlotsACurvePerLine) {
    const TempDir folder;
    const Finished run =
        simulate({"--policy", "lru,belady", "--sizes", "10..90", "--plot", folder.file("p.svg")});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    std::ifstream in(folder.file("p.svg"));
    const std::string svg{std::istreambuf_iterator<char>(in), {}};
    EXPECT_TRUE(svg.starts_with("<svg ")) << svg;
    EXPECT_TRUE(svg.ends_with("</svg>\n")) << svg;
    std::size_t n_curves = 0;
    for (std::size_t at = svg.find("<polyline"); at != std::string::npos; at = svg.find("<polyline", at + 1))
        ++n_curves;
    EXPECT_EQ(n_curves, 4U);
    for (const char* label : {">lru, layer<", ">lru, global<", ">belady, layer<", ">belady, global<"})
        EXPECT_NE(svg.find(label), std::string::npos) << label;
}

TEST(SimulateCommand, AnyNameOfAFolderGivesWellFormedOutput) {
    const TempDir folder;
    const std::string trace = folder.file("a&b<\x1b\xff");
    std::filesystem::copy(test_data("traces/qwen3-30b-a3b-short"), trace);
    const Finished json =
        greenroom({"simulate", "--trace", trace, "--policy", "lru", "--sizes", "20", "--json"});
    EXPECT_EQ(json.exit_code, 0) << json.err;
    EXPECT_TRUE(nlohmann::json::accept(json.out)) << json.out;
    const Finished table = greenroom(
        {"simulate", "--trace", trace, "--policy", "lru", "--sizes", "20", "--plot", folder.file("p.svg")});
    EXPECT_TRUE(table.out.starts_with("a&b<\\x1b\\xff: 120 tokens")) << table.out;
    std::ifstream in(folder.file("p.svg"));
    const std::string svg{std::istreambuf_iterator<char>(in), {}};
    EXPECT_NE(svg.find(">a&amp;b&lt;\\x1b\\xff, 6 of 128 experts<"), std::string::npos) << svg;
}

TEST(SimulateCommand, MistakesAreBadUsage) {
    EXPECT_EQ(simulate({"--policy", "best"}).exit_code, 2);
    EXPECT_NE(simulate({"--policy", "best"}).err.find("belady"), std::string::npos);
    for (const char* sizes : {"0", "101", "30..20", "5..", "x", "", "10,,20", "1e1"}) {
        const Finished run = simulate({"--sizes", sizes});
        EXPECT_EQ(run.exit_code, 2) << sizes;
        EXPECT_NE(run.err.find("--sizes"), std::string::npos) << run.err;
    }
    EXPECT_EQ(simulate({"--scope", "model"}).exit_code, 2);
    EXPECT_EQ(simulate({"--miss-gbs", "0"}).exit_code, 2);
}

TEST(SimulateCommand, AFolderThatIsNoTraceIsSaid) {
    const Finished run = greenroom({"simulate", "--trace", "/nowhere"});
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_NE(run.err.find("/nowhere/trace.json"), std::string::npos) << run.err;
}

}  // namespace
}  // namespace greenroom::test
