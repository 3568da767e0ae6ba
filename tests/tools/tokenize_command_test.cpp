// greenroom tokenize, from outside: ids of a text, text of ids.

#include "quant/gguf.h"
#include "quant/gguf_writer.h"
#include "tests/support/npy.h"
#include "tests/support/paths.h"
#include "tests/tools/subprocess.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

namespace greenroom::test {
namespace {

constexpr int kBos = 509;  // of the tiny model, which adds it

// `greenroom tokenize` on the tiny model.
std::string tokenize(const std::vector<std::string>& flags) {
    std::vector<std::string> args = {"tokenize", "-m", mini_model()};
    args.insert(args.end(), flags.begin(), flags.end());
    const Finished finished = greenroom(args);
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    EXPECT_EQ(finished.err, "");
    return finished.out;
}

std::vector<int> ids_of(const std::vector<std::string>& flags) {
    return nlohmann::json::parse(tokenize(flags));
}

TEST(TokenizeCommand, JsonIsAPlainListOfIds) {
    std::ifstream meta_file(test_data("oracle/mini/deepseek2/meta.json"));
    const auto meta = nlohmann::json::parse(meta_file);
    for (const std::size_t i : {0U, 1U, 2U}) {
        const std::vector<int> ids = ids_of({"--json", "--no-escape", "-p", meta.at("prompts").at(i)});
        // The reference took the first tokens of each text.
        const auto expected =
            load_npy<std::int32_t>(test_data("oracle/mini/deepseek2/tokens_p" + std::to_string(i) + ".npy"))
                .values;
        ASSERT_GE(ids.size(), expected.size());
        EXPECT_TRUE(std::equal(expected.begin(), expected.end(), ids.begin())) << "prompt " << i;
    }
}

TEST(TokenizeCommand, PrintsALineForEachToken) {
    const std::vector<int> ids = ids_of({"--json", "-p", "In the\\n"});
    const std::string lines = tokenize({"-p", "In the\\n"});
    EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), static_cast<std::ptrdiff_t>(ids.size())) << lines;
    EXPECT_NE(lines.find(std::to_string(kBos) + " '"), std::string::npos) << lines;
    EXPECT_NE(lines.find("\\n'"), std::string::npos) << lines;
}

TEST(TokenizeCommand, BosAndControlTokensFollowTheFlags) {
    const std::vector<int> plain = ids_of({"--json", "--no-bos", "-p", "the"});
    std::vector<int> with_bos = plain;
    with_bos.insert(with_bos.begin(), kBos);
    EXPECT_EQ(ids_of({"--json", "-p", "the"}), with_bos);

    const std::string bos_text = tokenize({"--ids", std::to_string(kBos)});
    EXPECT_EQ(ids_of({"--json", "--no-bos", "-p", bos_text}), std::vector<int>{kBos});
    const std::vector<int> literal = ids_of({"--json", "--no-bos", "--no-special", "-p", bos_text});
    EXPECT_GT(literal.size(), 1U);
    EXPECT_EQ(std::count(literal.begin(), literal.end(), kBos), 0);
}

TEST(TokenizeCommand, IdsBecomeTheTextTheyCameFrom) {
    const std::string text = "Grüße, 世界 🌍\n\tand  spaces ";
    const TempDir folder;
    std::ofstream(folder.file("text.txt"), std::ios::binary) << text;
    const std::string list = tokenize({"--json", "--no-bos", "-f", folder.file("text.txt")});
    std::ofstream(folder.file("ids.txt")) << list.substr(1, list.size() - 3);  // without the brackets
    EXPECT_EQ(tokenize({"--ids", "@" + folder.file("ids.txt")}), text);
    EXPECT_EQ(nlohmann::json::parse(tokenize({"--json", "--ids", "@" + folder.file("ids.txt")})), text);
}

TEST(TokenizeCommand, ControlTokensCanBeLeftOutOfTheText) {
    const std::string list = tokenize({"--json", "-p", "the"});
    EXPECT_EQ(tokenize({"--no-special", "--ids", list.substr(1, list.size() - 3)}), "the");
}

TEST(TokenizeCommand, TextOfNothingHasNoTokensButBos) {
    EXPECT_EQ(ids_of({"--json", "-p", ""}), std::vector<int>{kBos});
    EXPECT_EQ(ids_of({"--json", "--no-bos", "-p", ""}), std::vector<int>{});
}

TEST(TokenizeCommand, VocabularyWithoutWeightsSuffices) {
    const TempDir folder;
    const quant::Gguf model = quant::Gguf::open(mini_model());
    quant::GgufWriter vocabulary;
    for (const quant::GgufEntry& entry : model.entries()) vocabulary.add(entry);
    vocabulary.write(folder.file("vocabulary.gguf"));
    const Finished finished =
        greenroom({"tokenize", "-m", folder.file("vocabulary.gguf"), "--json", "-p", "the"});
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    EXPECT_EQ(finished.out, tokenize({"--json", "-p", "the"}));
}

TEST(TokenizeCommand, WrongIdsAndFilesAreErrors) {
    const TempDir folder;
    std::ofstream(folder.file("ids.txt")) << "1 2 three";
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"512", "512"},
        {"@" + folder.file("ids.txt"), "'three'"},
        {"@" + folder.file("none.txt"), "none.txt"}};
    for (const auto& [ids, named] : cases) {
        const Finished finished = greenroom({"tokenize", "-m", mini_model(), "--ids", ids});
        EXPECT_EQ(finished.exit_code, 1);
        EXPECT_NE(finished.err.find(named), std::string::npos) << finished.err;
    }
    for (const std::string& path : {folder.file("none.txt"), folder.path().string()})
        EXPECT_EQ(greenroom({"tokenize", "-m", mini_model(), "-f", path}).exit_code, 1);
}

}  // namespace
}  // namespace greenroom::test
