// greenroom run, from outside: the answer on standard output and nothing else.

#include "tests/support/npy.h"
#include "tests/support/paths.h"
#include "tests/tools/subprocess.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

namespace greenroom::test {
namespace {

constexpr const char* kPrompt = "In the beginning";

// `greenroom run` on the tiny model.
Finished run(const std::vector<std::string>& flags, const std::string& prompt = kPrompt) {
    std::vector<std::string> args = {"run", "-m", mini_model(), "-t", "1", "-p", prompt};
    args.insert(args.end(), flags.begin(), flags.end());
    return greenroom(args);
}

std::string answer(const std::vector<std::string>& flags, const std::string& prompt = kPrompt) {
    const Finished finished = run(flags, prompt);
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    return finished.out;
}

TEST(RunCommand, OnlyTheAnswerGoesToStandardOutput) {
    const Finished quiet = run({"-n", "12", "--temp", "0", "-q"});
    EXPECT_EQ(quiet.exit_code, 0);
    EXPECT_FALSE(quiet.out.empty());
    EXPECT_EQ(quiet.err, "");
    const Finished told = run({"-n", "12", "--temp", "0"});
    EXPECT_EQ(told.out, quiet.out);
    EXPECT_TRUE(told.err.ends_with("\n")) << told.err;
    // In one line, after that of the device, which only a program built with CUDA has.
    EXPECT_LE(std::count(told.err.begin(), told.err.end(), '\n'), 2) << told.err;
    for (const char* figure :
         {"prompt ", "generated 12 tokens", "tok/s", "KV cache", "peak RSS", "seed ", "limit of -n"})
        EXPECT_NE(told.err.find(figure), std::string::npos) << figure << " in " << told.err;
}

// The text of the reference's tokens.
std::string reference_text(const std::string& array) {
    std::string ids;
    for (const std::int32_t id :
         load_npy<std::int32_t>(test_data("oracle/mini/deepseek2/" + array + ".npy")).values)
        ids += std::to_string(id) + ",";
    return greenroom({"tokenize", "-m", mini_model(), "--no-special", "--ids", ids}).out;
}

TEST(RunCommand, GreedyAnswerIsTheReferences) {
    const std::vector<std::string> flags = {"-n", "32", "--temp", "0", "--no-escape"};
    EXPECT_EQ(answer(flags, reference_text("tokens_p1")), reference_text("greedy_p1"));
}

TEST(RunCommand, FiguresThatCannotBeWrittenAreSaidBeforeTheAnswer) {
    const TempDir folder;
    for (const std::string& path : {folder.file("none/stats.json"), folder.path().string()}) {
        const Finished refused = run({"-n", "3", "--stats-json", path});
        EXPECT_EQ(refused.exit_code, 1);
        EXPECT_EQ(refused.out, "");
        EXPECT_TRUE(refused.err.starts_with("greenroom: error: " + path + ": cannot create")) << refused.err;
    }
    // Nothing is lost of what is there, whatever happens next.
    std::ofstream(folder.file("old.json")) << "old";
    EXPECT_EQ(run({"-n", "3", "-c", "1", "--stats-json", folder.file("old.json")}).exit_code, 1);
    std::ifstream old(folder.file("old.json"));
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(old), {}), "old");
    EXPECT_FALSE(std::filesystem::exists(folder.file("old.json.partial")));
}

TEST(RunCommand, SameSeedSameText) {
    const std::string first = answer({"-n", "20", "--seed", "7", "--ignore-eos"});
    EXPECT_EQ(answer({"-n", "20", "--seed", "7", "--ignore-eos"}), first);
    EXPECT_EQ(answer({"-n", "20", "--seed", "7", "--ignore-eos", "-b", "1"}), first);
    EXPECT_NE(answer({"-n", "20", "--seed", "8", "--ignore-eos"}), first);
}

TEST(RunCommand, PromptComesFromAFlagAFileOrStandardInput) {
    const std::vector<std::string> flags = {"-n", "8", "--temp", "0", "-q", "-m", mini_model()};
    const TempDir folder;
    std::ofstream(folder.file("prompt.txt")) << kPrompt << '\n';  // the newline is the editor's
    std::vector<std::string> from_file = {"run", "-f", folder.file("prompt.txt")};
    from_file.insert(from_file.end(), flags.begin(), flags.end());
    std::vector<std::string> from_stdin = {"run", "-f", "-"};
    from_stdin.insert(from_stdin.end(), flags.begin(), flags.end());
    Redirection stdin_prompt;
    stdin_prompt.stdin_text = kPrompt;

    const std::string expected = answer({"-n", "8", "--temp", "0"});
    EXPECT_EQ(greenroom(from_file).out, expected);
    EXPECT_EQ(greenroom(from_stdin, stdin_prompt).out, expected);
}

TEST(RunCommand, EscapesInThePromptAreReadUnlessToldOtherwise) {
    const std::vector<std::string> flags = {"-n", "0", "--display-prompt", "-q"};
    EXPECT_EQ(answer(flags, "a\\tb\\x41\\\\"), "a\tbA\\");
    EXPECT_EQ(answer({"-n", "0", "--display-prompt", "-q", "--no-escape"}, "a\\tb"), "a\\tb");
}

TEST(RunCommand, StopTextEndsTheAnswer) {
    const std::string whole = answer({"-n", "24", "--temp", "0"});
    const std::string stop = whole.substr(whole.size() / 2, 2);
    const Finished stopped =
        run({"-n", "24", "--temp", "0", "--no-escape", "--stop", "[not in there]", "-r", stop});
    EXPECT_EQ(stopped.out, whole.substr(0, whole.find(stop)));
    EXPECT_NE(stopped.err.find("stop text"), std::string::npos) << stopped.err;
}

TEST(RunCommand, BracketsInAStopTextAreText) {
    const std::string whole = answer({"-n", "24", "--temp", "0"});
    EXPECT_EQ(answer({"-n", "24", "--temp", "0", "--stop", "[a,b]"}), whole);
}

TEST(RunCommand, BannedTokensDoNotOccur) {
    std::vector<std::string> flags = {"-n", "1", "--temp", "0"};
    for (int id = 0; id < 512; ++id)
        if (id != 65) flags.insert(flags.end(), {"-l", std::to_string(id) + "-inf"});
    EXPECT_EQ(answer(flags), greenroom({"tokenize", "-m", mini_model(), "--ids", "65"}).out);
}

TEST(RunCommand, TokenOutsideTheVocabularyCannotBeBiased) {
    const Finished finished = run({"-l", "512+1"});
    EXPECT_EQ(finished.exit_code, 1);
    EXPECT_NE(finished.err.find("token 512"), std::string::npos) << finished.err;
}

TEST(RunCommand, ContextThatIsTooLongOrTooShortSaysSo) {
    const Finished too_long = run({"-c", "100000"});
    EXPECT_EQ(too_long.exit_code, 1);
    EXPECT_NE(too_long.err.find("100000"), std::string::npos) << too_long.err;
    const Finished too_short = run({"-c", "2"});
    EXPECT_EQ(too_short.exit_code, 1);
    EXPECT_NE(too_short.err.find("context of 2"), std::string::npos) << too_short.err;
}

TEST(RunCommand, FullContextEndsTheAnswer) {
    const Finished full = run({"-c", "40", "--ignore-eos", "--seed", "1"});
    EXPECT_EQ(full.exit_code, 0);
    EXPECT_NE(full.err.find("context full"), std::string::npos) << full.err;
}

TEST(RunCommand, EmptyPromptIsBadUsageUnlessTheModelAddsBos) {
    const Finished without_bos = greenroom({"run", "-m", demo_model_file(), "-p", "", "-n", "1"});
    EXPECT_EQ(without_bos.exit_code, 2);
    EXPECT_NE(without_bos.err.find("empty"), std::string::npos) << without_bos.err;
}

TEST(RunCommand, InterruptEndsTheAnswerCleanly) {
    Subprocess process(
        greenroom_argv({"run", "-m", demo_model_file(), "-p", "In the beginning", "--ignore-eos"}));
    using namespace std::chrono_literals;
    for (int i = 0; i < 3000 && process.out().empty(); ++i) std::this_thread::sleep_for(10ms);
    process.send_signal(SIGINT);
    const Finished finished = process.wait();
    EXPECT_EQ(finished.exit_code, 0);
    EXPECT_FALSE(finished.out.empty());
    EXPECT_NE(finished.err.find("interrupted"), std::string::npos) << finished.err;
}

}  // namespace
}  // namespace greenroom::test
