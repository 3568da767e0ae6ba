// The program as a whole: exit codes, and what goes where when something is wrong.

#include "tests/support/paths.h"
#include "tests/tools/subprocess.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace greenroom::test {
namespace {

TEST(Program, AloneOrAskedForHelpListsTheCommands) {
    for (const std::vector<std::string>& args : {std::vector<std::string>{}, {"help"}, {"--help"}, {"-h"}}) {
        const Finished run = greenroom(args);
        EXPECT_EQ(run.exit_code, 0);
        EXPECT_EQ(run.err, "");
        for (const char* command : {"run", "chat", "inspect", "tokenize", "template", "logits", "perplexity",
                                    "bench", "tune", "trace", "simulate", "help"})
            EXPECT_NE(run.out.find(std::string("\n  ") + command + " "), std::string::npos)
                << command << run.out;
    }
}

TEST(Program, EveryCommandExplainsItselfWithExamples) {
    for (const char* command : {"run", "chat", "inspect", "tokenize", "template", "logits", "perplexity",
                                "bench", "tune", "trace", "simulate"}) {
        const Finished run = greenroom({command, "--help"});
        EXPECT_EQ(run.exit_code, 0);
        EXPECT_NE(run.out.find(std::string("Usage: greenroom ") + command), std::string::npos) << run.out;
        EXPECT_NE(run.out.find("Examples:\n  greenroom "), std::string::npos) << run.out;
        EXPECT_EQ(greenroom({"help", command}).out, run.out);
    }
}

TEST(Program, VersionTellsAboutTheGpu) {
    const Finished run = greenroom({"--version"});
    EXPECT_EQ(run.exit_code, 0);
    EXPECT_TRUE(run.out.starts_with("greenroom ")) << run.out;
    EXPECT_NE(run.out.find("\nGPU: "), std::string::npos) << run.out;
}

struct BadUsage {
    std::vector<std::string> args;
    std::string named;  // what the message is about
};

TEST(Program, BadUsageIsExitCode2AndAMessageThatNamesIt) {
    const std::string model = mini_model();
    const std::vector<BadUsage> cases = {
        {{"frobnicate"}, "frobnicate"},
        {{"--frobnicate"}, "--frobnicate"},
        {{"help", "frobnicate"}, "frobnicate"},
        {{"run"}, "--model"},
        {{"run", "-m", model}, "-p TEXT"},
        {{"run", "-m"}, "--model"},
        {{"run", "-m", model, "-p", "x", "--frobnicate"}, "--frobnicate"},
        {{"run", "-m", model, "-p", "x", "stray"}, "stray"},
        {{"run", "-m", model, "-p", "x", "stray", "--frobnicate"}, "stray --frobnicate"},
        {{"run", "-m", model, "-p", "x", "-fa", "1"}, "--flash-attn 1"},
        {{"run", "-m", "", "-p", "x"}, "--model: found ''"},
        {{"run", "-m", model, "-p", "x", "--stats-json", ""}, "--stats-json: found ''"},
        {{"run", "-m", model, "-p", "x", "--cache-policy", "best"}, "found 'best', expected learned, decay"},
        {{"run", "-m", model, "-p", "x", "--cpu-strict", "2"}, "found '2', expected 0, 1"},
        {{"run", "-m", model, "-p", "x", "-f", "y"}, "--file"},
        {{"run", "-m", model, "-p", "x", "-n", "-2"}, "-2"},
        {{"run", "-m", model, "-p", "x", "-n", "1.5"}, "1.5"},
        {{"run", "-m", model, "-p", "x", "-n", "99999999999999999999"}, "99999999999999999999"},
        {{"run", "-m", model, "-p", "x", "-c", "-1"}, "-1"},
        {{"run", "-m", model, "-p", "x", "-b", "0"}, "--batch-size"},
        {{"run", "-m", model, "-p", "x", "-t", "two"}, "two"},
        {{"run", "-m", model, "-p", "x", "--activations", "q4"}, "--activations"},
        {{"run", "-m", model, "-p", "x", "--temp", "-0.1"}, "--temp"},
        {{"run", "-m", model, "-p", "x", "--temp", "nan"}, "nan"},
        {{"run", "-m", model, "-p", "x", "--temp", ""}, "--temp"},
        {{"run", "-m", model, "-p", "x", "--top-p", "1.5"}, "--top-p"},
        {{"run", "-m", model, "-p", "x", "--min-p", "-1"}, "--min-p"},
        {{"run", "-m", model, "-p", "x", "--top-k", "-1"}, "--top-k"},
        {{"run", "-m", model, "-p", "x", "--repeat-penalty", "0"}, "--repeat-penalty"},
        {{"run", "-m", model, "-p", "x", "--repeat-last-n", "-2"}, "--repeat-last-n"},
        {{"run", "-m", model, "-p", "x", "--presence-penalty", "inf"}, "--presence-penalty"},
        {{"run", "-m", model, "-p", "x", "-s", "-5"}, "--seed"},
        {{"run", "-m", model, "-p", "x", "-s", "18446744073709551616"}, "--seed"},
        {{"run", "-m", model, "-p", "x", "-l", "5"}, "--logit-bias"},
        {{"run", "-m", model, "-p", "x", "-l", "5+nan"}, "--logit-bias"},
        {{"run", "-m", model, "-p", "x", "-l", "+5"}, "--logit-bias"},
        {{"chat"}, "--model"},
        {{"chat", "-m", model, "-sys"}, "--system-prompt"},
        {{"chat", "-m", model, "-sys", "x", "-sysf", "y"}, "--system-prompt-file"},
        {{"chat", "-m", model, "--reasoning", "maybe"}, "maybe"},
        {{"chat", "-m", model, "--reasoning-budget", "100"}, "--reasoning-budget"},
        {{"chat", "-m", model, "--reasoning", "off", "--reasoning-budget", "0"}, "--reasoning"},
        {{"chat", "-m", model, "--chat-template-kwargs", "[1]"}, "--chat-template-kwargs"},
        {{"chat", "-m", model, "--chat-template-kwargs", "{"}, "JSON object"},
        {{"chat", "-m", model, "-n", "-2"}, "-2"},
        {{"chat", "-m", model, "stray"}, "stray"},
        {{"inspect"}, "file"},
        {{"inspect", model, model}, model},
        {{"tokenize", "-m", model}, "-p TEXT"},
        {{"tokenize", "-m", model, "-p", "x", "--ids", "1"}, "--ids"},
        {{"tokenize", "-m", model, "--ids", "1,x"}, "'x'"},
        {{"tokenize", "-m", model, "--ids", ""}, "--ids"},
        {{"logits", "-m", model, "--tokens", "1,2"}, "--output"},
        {{"logits", "-m", model, "-o", "x.npy"}, "--tokens"},
        {{"logits", "-m", model, "--tokens", "1", "-o", ""}, "--output: found ''"},
        {{"trace", "-m", model, "-f", model, "-o", ""}, "--output: found ''"},
        {{"logits", "-m", model, "-o", "x.npy", "--tokens", "1,-2"}, "'-2'"},
        {{"perplexity", "-m", model}, "--file"},
        {{"perplexity", "-m", model, "-f", "x", "--chunks", "0"}, "--chunks"},
        {{"perplexity", "-m", model, "-f", "x", "-c", "3"}, "--ctx-size"},
        {{"bench"}, "--model"},
        {{"bench", "-m", model, "-p", "-1"}, "--n-prompt"},
        {{"bench", "-m", model, "-n", "x"}, "'x'"},
        {{"bench", "-m", model, "-n", "1,,2"}, "--n-gen"},
        {{"bench", "-m", model, "-d", "1.5"}, "--n-depth"},
        {{"bench", "-m", model, "-p", "0", "-n", "0"}, "--n-gen"},
        {{"bench", "-m", model, "-pg", "512"}, "512,128"},
        {{"bench", "-m", model, "-pg", "512,0"}, "--n-prompt-gen"},
        {{"bench", "-m", model, "-t", "1,two"}, "--threads"},
        {{"bench", "-m", model, "-tb", "1,-1"}, "--threads-batch"},
        {{"bench", "-m", model, "--cpu-strict", "2"}, "--cpu-strict"},
        {{"bench", "-m", model, "-b", "8,0"}, "--batch-size"},
        {{"bench", "-m", model, "-r", "0"}, "--repetitions"},
        {{"bench", "-m", model, "-o", "xml"}, "xml"},
        {{"bench", "-m", model, "-ctk", "f16,q5"}, "--cache-type-k"},
        {{"bench", "-m", model, "--ram", "1G,much"}, "much"},
        {{"bench", "-m", model, "--cache-policy", "lru,best"}, "best"},
    };
    for (const BadUsage& bad : cases) {
        const Finished run = greenroom(bad.args);
        EXPECT_EQ(run.exit_code, 2) << bad.named << ": " << run.err;
        EXPECT_EQ(run.out, "") << bad.named;
        EXPECT_TRUE(run.err.starts_with("greenroom: error: ")) << run.err;
        EXPECT_NE(run.err.find(bad.named), std::string::npos) << bad.named << ": " << run.err;
    }
}

TEST(Program, OfAFlagThatIsGivenTwiceTheLastOneCounts) {
    const Finished run =
        greenroom({"run", "-m", "/none", "-m", mini_model(), "-p", "x", "-n", "9", "-q", "--predict", "0"});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_EQ(run.out, "");
    EXPECT_EQ(greenroom({"tokenize", "-m", mini_model(), "-p", "a", "-p", "b"}).out,
              greenroom({"tokenize", "-m", mini_model(), "-p", "b"}).out);
}

// What a file says must not reach the terminal as a command.
TEST(Program, MessagesHaveNoControlCharacters) {
    const TempDir folder;
    std::ifstream in(demo_model_file(), std::ios::binary);
    std::string model{std::istreambuf_iterator<char>(in), {}};
    const std::string name = "gpt2";  // the tokenizer's
    const std::size_t at = model.find(name, model.find("tokenizer.ggml.model"));
    ASSERT_NE(at, std::string::npos);
    for (const auto& [hostile, shown] : {std::pair<std::string, std::string>{"\x1b[2J", "\\x1b[2J"},
                                         {"\xC2\x9B\x7Fm", "\\xc2\\x9b\\x7fm"}}) {
        model.replace(at, name.size(), hostile);
        std::ofstream(folder.file("m.gguf"), std::ios::binary) << model;
        const Finished run = greenroom({"run", "-m", folder.file("m.gguf"), "-p", "x"});
        EXPECT_EQ(run.exit_code, 1);
        EXPECT_NE(run.err.find("tokenizer.ggml.model is \"" + shown), std::string::npos) << run.err;
        EXPECT_EQ(run.err.find('\x1b'), std::string::npos);
        EXPECT_EQ(run.err.find('\x7f'), std::string::npos);
    }
}

// Every command that opens a model, given something that is none.
TEST(Program, FileThatIsNoModelIsExitCode1AndOneLineThatNamesIt) {
    const TempDir folder;
    std::ofstream(folder.file("empty.gguf"));
    std::ofstream(folder.file("text.gguf")) << "This is a text, and no model at all.\n";
    std::ofstream(folder.file("short.gguf"), std::ios::binary) << "GGUF";
    const std::vector<std::string> paths = {folder.file("missing.gguf"), folder.path().string(),
                                            folder.file("empty.gguf"),   folder.file("text.gguf"),
                                            folder.file("short.gguf"),   "/dev/null"};
    for (const std::string& path : paths) {
        const std::vector<std::vector<std::string>> commands = {
            {"inspect", path},
            {"run", "-m", path, "-p", "x"},
            {"chat", "-m", path},
            {"tokenize", "-m", path, "-p", "x"},
            {"logits", "-m", path, "--tokens", "1", "-o", folder.file("out.npy")},
            {"perplexity", "-m", path, "-f", folder.file("text.gguf")},
            {"bench", "-m", path},
        };
        for (const auto& command : commands) {
            const Finished run = greenroom(command);
            EXPECT_EQ(run.exit_code, 1) << command.front() << ' ' << path;
            EXPECT_EQ(run.out, "");
            EXPECT_TRUE(run.err.starts_with("greenroom: error: " + path + ": ")) << run.err;
            EXPECT_EQ(run.err.find('\n'), run.err.size() - 1) << run.err;
        }
        EXPECT_FALSE(std::filesystem::exists(folder.file("out.npy")));
    }
}

TEST(Program, FullOutputIsAnError) {
    if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
    Redirection to_full;
    to_full.stdout_path = "/dev/full";
    for (const std::vector<std::string>& args : {std::vector<std::string>{"--help"},
                                                 {"inspect", mini_model()},
                                                 {"tokenize", "-m", mini_model(), "-p", "x"},
                                                 {"run", "-m", mini_model(), "-p", "x", "-n", "5"}}) {
        const Finished run = greenroom(args, to_full);
        EXPECT_EQ(run.exit_code, 1);
        EXPECT_NE(run.err.find("standard output"), std::string::npos) << run.err;
    }
}

TEST(Program, MessagesThatCannotBeWrittenChangeNothing) {
    if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
    const auto exit_code = [](const std::string& arguments) {
        const std::string command =
            std::string("exec '") + GREENROOM_BINARY + "' " + arguments + " 2>/dev/full";
        return Subprocess({"/bin/sh", "-c", command}).wait().exit_code;
    };
    EXPECT_EQ(exit_code("run -m '" + mini_model() + "' -p x -n 3"), 0);
    EXPECT_EQ(exit_code("run -m /none -p x"), 1);
    EXPECT_EQ(exit_code("run"), 2);
}

TEST(Program, ReaderThatWentAwayEndsTheProgramQuietly) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    ::close(ends[0]);
    Redirection to_nobody;
    to_nobody.stdout_fd = ends[1];
    const Finished run = greenroom({"run", "-m", mini_model(), "-p", "x", "-n", "50", "-q"}, to_nobody);
    ::close(ends[1]);
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_EQ(run.err, "");
}

}  // namespace
}  // namespace greenroom::test
