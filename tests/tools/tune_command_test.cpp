// greenroom tune, from outside: what it prints and keeps, and that starts use it.

#include "runtime/profile.h"
#include "tests/support/paths.h"
#include "tests/tools/subprocess.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace greenroom::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// A place for profiles of its own; children inherit it.
class TuneCommand : public testing::Test {
  protected:
    TuneCommand() { ::setenv("XDG_DATA_HOME", folder_.path().c_str(), 1); }
    ~TuneCommand() override { ::unsetenv("XDG_DATA_HOME"); }

    // The only profile there is; empty without one.
    fs::path profile() const {
        const fs::path profiles = folder_.path() / "greenroom" / "profiles";
        if (!fs::exists(profiles)) return {};
        EXPECT_EQ(std::distance(fs::directory_iterator(profiles), {}), 1);
        return fs::directory_iterator(profiles)->path();
    }
    Finished run_with_stats(const std::vector<std::string>& flags = {}) const {
        std::vector<std::string> args = {"run", "-m", mini_model(), "-p", "Hi", "-n", "1", "--stats"};
        args.insert(args.end(), flags.begin(), flags.end());
        return greenroom(args);
    }

    TempDir folder_;
};

TEST_F(TuneCommand, DryRunPrintsAndKeepsNothing) {
    const Finished finished = greenroom({"tune", "-m", mini_model(), "--dry-run", "--json"});
    ASSERT_EQ(finished.exit_code, 0) << finished.err;
    const json printed = json::parse(finished.out);
    EXPECT_EQ(printed["version"], runtime::Profile::kVersion);
    EXPECT_GE(printed["chosen"]["threads"], 1);
    EXPECT_TRUE(profile().empty());
    EXPECT_NE(run_with_stats().err.find("profile   none"), std::string::npos);
}

TEST_F(TuneCommand, StartsUseTheProfileThatItKeeps) {
    const Finished finished = greenroom({"tune", "-m", mini_model()});
    ASSERT_EQ(finished.exit_code, 0) << finished.err;
    for (const char* text :
         {"DRAM reads, 1 thread ", "expert, 32 tokens", "GB/s", "tok/s", "threads", "batch"})
        EXPECT_NE(finished.out.find(text), std::string::npos) << text;
    const fs::path path = profile();
    ASSERT_FALSE(path.empty());
    EXPECT_NE(finished.err.find(path.string()), std::string::npos);

    // With a number that no machine would choose.
    json kept;
    std::ifstream(path) >> kept;
    kept["chosen"]["threads"] = 3;
    kept["chosen"]["batch_tokens"] = 77;
    std::ofstream(path) << kept;
    const auto expect_line = [&](const std::vector<std::string>& flags, const std::string& line) {
        const std::string told = run_with_stats(flags).err;
        EXPECT_NE(told.find("profile   " + line + "\n"), std::string::npos) << told;
    };
    expect_line({}, "3 threads, from the profile " + path.string() + "; batches of 77 tokens");
    expect_line({"-b", "5"}, "3 threads, from the profile " + path.string());
    expect_line({"-t", "2"}, "2 threads, as -t says; other sizes from the profile " + path.string() +
                                 "; batches of 77 tokens");
    std::vector<std::string> to_json = {"run", "-m", mini_model(), "-p", "x", "-n", "1", "--stats-json"};
    to_json.push_back(folder_.file("stats.json"));
    ASSERT_EQ(greenroom(to_json).exit_code, 0);
    EXPECT_EQ(json::parse(std::ifstream(folder_.file("stats.json")))["profile"],
              "3 threads, from the profile " + path.string() + "; batches of 77 tokens");
    const auto bench = [](const std::vector<std::string>& flags) {
        std::vector<std::string> args = {"bench", "-m", mini_model(), "-p", "4",   "-n",
                                         "0",     "-r", "1",          "-o", "json"};
        args.insert(args.end(), flags.begin(), flags.end());
        return json::parse(greenroom(args).out).at(0);
    };
    EXPECT_EQ(bench({})["n_threads"], 3);
    EXPECT_EQ(bench({})["n_batch"], 77);
    EXPECT_EQ(bench({"-b", "8"})["n_batch"], 8);

    kept["version"] = runtime::Profile::kVersion + 1;
    std::ofstream(path) << kept;
    const Finished newer = run_with_stats();
    EXPECT_EQ(newer.exit_code, 0);
    EXPECT_NE(newer.err.find("profile ignored: "), std::string::npos);
    EXPECT_NE(newer.err.find(fmt::format("version {};", runtime::Profile::kVersion + 1)), std::string::npos);
    EXPECT_NE(newer.err.find("profile   none"), std::string::npos);

    std::ofstream(path) << "{\"version\": 1";
    EXPECT_NE(run_with_stats().err.find("is no JSON"), std::string::npos);
}

}  // namespace
}  // namespace greenroom::test
