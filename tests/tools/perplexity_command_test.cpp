// greenroom perplexity, from outside.

#include "tests/support/paths.h"
#include "tests/tools/subprocess.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <string>

namespace greenroom::test {
namespace {

class PerplexityCommand : public testing::Test {
  protected:
    PerplexityCommand() {
        std::ofstream text(folder_.file("text.txt"));
        for (int i = 0; i < 200; ++i) text << "In the beginning was line " << i << ".\n";
    }

    Finished perplexity(std::vector<std::string> flags) const {
        flags.insert(flags.begin(),
                     {"perplexity", "-m", mini_model(), "-f", folder_.file("text.txt"), "-t", "1"});
        return greenroom(flags);
    }

    const TempDir folder_;
};

TEST_F(PerplexityCommand, PrintsOneLine) {
    const Finished run = perplexity({"-c", "64", "--chunks", "3"});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_EQ(run.err, "");
    EXPECT_TRUE(run.out.starts_with("PPL = ")) << run.out;
    EXPECT_TRUE(run.out.ends_with(" (3 chunks of 64 tokens)\n")) << run.out;
}

TEST_F(PerplexityCommand, JsonHoldsTheSameNumbers) {
    const nlohmann::json json =
        nlohmann::json::parse(perplexity({"-c", "64", "--chunks", "3", "--json"}).out);
    EXPECT_EQ(json.at("n_chunks"), 3);
    EXPECT_EQ(json.at("n_ctx"), 64);
    EXPECT_EQ(json.at("n_tokens"), 3 * 31);
    const std::string line =
        fmt::format("PPL = {:.4f} ± {:.4f} (3 chunks of 64 tokens)\n", json.at("perplexity").get<double>(),
                    json.at("standard_error").get<double>());
    EXPECT_EQ(perplexity({"-c", "64", "--chunks", "3"}).out, line);
}

TEST_F(PerplexityCommand, BatchSizeDoesNotMatter) {
    EXPECT_EQ(perplexity({"-c", "64", "--chunks", "2", "-b", "5"}).out,
              perplexity({"-c", "64", "--chunks", "2"}).out);
}

TEST_F(PerplexityCommand, TextThatIsTooShortSaysHowLongItHasToBe) {
    std::ofstream(folder_.file("text.txt")) << "Short.";
    const Finished run = perplexity({"-c", "64"});
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_NE(run.err.find("128"), std::string::npos) << run.err;
}

TEST_F(PerplexityCommand, ChunksLongerThanTheModelsContextAreRefused) {
    const Finished run = perplexity({});  // 512, the model has 256
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_NE(run.err.find("256"), std::string::npos) << run.err;
}

}  // namespace
}  // namespace greenroom::test
