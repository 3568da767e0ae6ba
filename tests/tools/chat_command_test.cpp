// greenroom chat through a pipe: one answer for each line, and the commands.

#include "tests/support/paths.h"
#include "tests/tools/subprocess.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <csignal>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <thread>
#include <vector>

namespace greenroom::test {
namespace {

using nlohmann::json;

// Has a chat template (ChatML) and a context of 1024 tokens.
std::string demo_model() { return demo_model_file(); }

Finished chat(const std::string& lines, const std::vector<std::string>& flags = {},
              const std::string& model = demo_model()) {
    std::vector<std::string> args = {"chat", "-m", model, "-t", "1", "--temp", "0", "-n", "12"};
    args.insert(args.end(), flags.begin(), flags.end());
    Redirection input;
    input.stdin_text = lines;
    return greenroom(args, input);
}

// What `greenroom run` continues the prompt with.
std::string continuation(const std::string& prompt, const std::vector<std::string>& flags = {},
                         const std::string& model = demo_model()) {
    std::vector<std::string> args = {"run", "-m", model, "-t", "1",    "--temp",     "0",
                                     "-n",  "12", "-q",  "-p", prompt, "--no-escape"};
    args.insert(args.end(), flags.begin(), flags.end());
    return greenroom(args).out;
}

json load(const std::string& path) { return json::parse(std::ifstream(path)); }

void expect_says(const Finished& run, const std::string& text) {
    EXPECT_NE(run.err.find(text), std::string::npos) << "lacks: " << text << "\n" << run.err;
}

// The figures of an answer, as /stats has them.
struct Figures {
    int n_prompt = 0;
    int n_reused = 0;
    int n_evaluated = 0;
    int n_generated = 0;
};

std::vector<Figures> figures_of(const Finished& run) {
    static const std::regex kFigures(
        R"(last answer: prompt (\d+) tokens, (\d+) of them in the KV cache, (\d+) evaluated[^|]*\| generated (\d+) tokens)");
    std::vector<Figures> figures;
    for (std::sregex_iterator found(run.err.begin(), run.err.end(), kFigures), end; found != end; ++found)
        figures.push_back(
            {std::stoi((*found)[1]), std::stoi((*found)[2]), std::stoi((*found)[3]), std::stoi((*found)[4])});
    return figures;
}

class ChatCommand : public testing::Test {
  protected:
    std::string write(const std::string& name, const std::string& text) const {
        std::ofstream(folder_.file(name), std::ios::binary) << text;
        return folder_.file(name);
    }

    const TempDir folder_;
};

TEST_F(ChatCommand, AnswersAreThoseToTheWholeConversation) {
    const std::string path = folder_.file("chat.json");
    const Finished run = chat("In the beginning\n\n  \nAnd then?\n/save " + path, {"-sys", "Be brief."});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    const json messages = load(path);
    ASSERT_EQ(messages.size(), 5U);
    EXPECT_EQ(messages[0], json({{"role", "system"}, {"content", "Be brief."}}));
    EXPECT_EQ(messages[1], json({{"role", "user"}, {"content", "In the beginning"}}));
    EXPECT_EQ(messages[3], json({{"role", "user"}, {"content", "And then?"}}));

    std::string prompt = "<|im_start|>system\nBe brief.<|im_end|>\n";
    std::string answers;
    for (const int i : {1, 3}) {
        prompt += "<|im_start|>user\n" + messages[i]["content"].get<std::string>() +
                  "<|im_end|>\n<|im_start|>assistant\n";
        const std::string answer = messages[i + 1]["content"];
        EXPECT_EQ(answer, continuation(prompt));
        prompt += answer + "<|im_end|>\n";
        answers += answer + (answer.ends_with('\n') ? "" : "\n");
    }
    EXPECT_EQ(run.out, answers);
}

TEST_F(ChatCommand, OnlyNewTokensAreComputed) {
    const Finished run = chat("In the beginning\n/stats\nAnd then?\n/stats\n");
    const std::vector<Figures> figures = figures_of(run);
    ASSERT_EQ(figures.size(), 2U) << run.err;
    EXPECT_EQ(figures[0].n_reused, 0);
    EXPECT_EQ(figures[0].n_evaluated, figures[0].n_prompt);
    // Of the first turn all is there but the end of the answer: its last token was not evaluated, and the
    // text of the ones before it may be cut into other tokens when it is followed by something.
    EXPECT_GE(figures[1].n_reused, figures[0].n_prompt + figures[0].n_generated - 3);
    EXPECT_EQ(figures[1].n_reused + figures[1].n_evaluated, figures[1].n_prompt);
    EXPECT_LT(figures[1].n_evaluated, 24) << "more than the new message";
    expect_says(run, "2 answers: prompt ");
    expect_says(run, "of 1024 tokens used, ");
}

TEST_F(ChatCommand, ResetForgetsAllButTheSystemPrompt) {
    const std::string path = folder_.file("chat.json");
    const Finished run = chat("In the beginning\n/reset\n/save " + path + "\nIn the beginning\n/stats\n",
                              {"-sys", "Be brief."});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_EQ(load(path), json::array({{{"role", "system"}, {"content", "Be brief."}}}));
    ASSERT_EQ(run.out.size() % 2, 0U) << run.out;
    EXPECT_EQ(run.out.substr(0, run.out.size() / 2), run.out.substr(run.out.size() / 2));
    // What both conversations begin with is still in the cache.
    const std::vector<Figures> figures = figures_of(run);
    ASSERT_EQ(figures.size(), 1U);
    EXPECT_EQ(figures[0].n_evaluated, 1);
}

TEST_F(ChatCommand, FileThatCannotBeWrittenIsToldAndNothingIsLost) {
    const std::string path = folder_.file("chat.json");
    const Finished run =
        chat("Hello\n/save " + folder_.file("none/chat.json") + "\n/save\n/save " + path + "\nAgain\n");
    EXPECT_EQ(run.exit_code, 1);
    expect_says(run, "none/chat.json: cannot create");
    expect_says(run, "/save needs the name of a file");
    EXPECT_EQ(load(path).size(), 2U);
}

TEST_F(ChatCommand, CommandsAreKnownAndOtherSlashesAreText) {
    const std::string path = folder_.file("chat.json");
    const Finished run =
        chat("/help\n/frobnicate\n/etc/passwd\n /help\n/save " + path + "\n/exit\nNever said\n");
    EXPECT_EQ(run.exit_code, 1);
    for (const char* name : {"/help", "/reset", "/save FILE", "/stats", "/exit"}) expect_says(run, name);
    expect_says(run, "there is no command /frobnicate");
    const json messages = load(path);
    ASSERT_EQ(messages.size(), 4U);
    EXPECT_EQ(messages[0]["content"], "/etc/passwd");
    EXPECT_EQ(messages[2]["content"], " /help");
}

TEST_F(ChatCommand, ModelWithoutATemplateContinuesATranscript) {
    const std::string path = folder_.file("chat.json");
    const Finished run =
        chat("One\nTwo\n/save " + path, {"-sysf", write("system.txt", "Be brief.\n")}, mini_model());
    EXPECT_EQ(run.exit_code, 0) << run.err;
    expect_says(run, "no chat template");
    const json messages = load(path);
    ASSERT_EQ(messages.size(), 5U);
    const std::string prompt = "Be brief.\n\nUser: One\nAssistant:";
    std::string expected = continuation(prompt, {"--stop", "\nUser:", "--special"}, mini_model());
    if (expected.starts_with(' ')) expected.erase(0, 1);
    EXPECT_EQ(messages[2]["content"], expected);
}

TEST_F(ChatCommand, FullContextIsToldAndNothingIsLost) {
    const std::string path = folder_.file("chat.json");
    const std::string many_words(400, 'x');
    const Finished run = chat("Hello\n" + many_words + "\n/save " + path + "\n/reset\nHello\n", {"-c", "48"});
    EXPECT_EQ(run.exit_code, 1);
    expect_says(run, "the context holds 48: it is full");
    expect_says(run, "/reset");
    EXPECT_EQ(load(path).size(), 2U);
    EXPECT_EQ(run.out.substr(0, run.out.size() / 2), run.out.substr(run.out.size() / 2));
}

TEST_F(ChatCommand, AnswerThatFillsTheContextIsKept) {
    const std::string path = folder_.file("chat.json");
    const Finished run = chat("Hello\n/save " + path, {"-c", "16", "-l", "4095-inf", "-l", "4093-inf"});
    EXPECT_EQ(run.exit_code, 1) << run.err;
    expect_says(run, "the context of 16 tokens is full, and the answer ends there");
    EXPECT_EQ(load(path).size(), 2U);
}

TEST_F(ChatCommand, TemplateOfAFileIsUsedAndMayRefuse) {
    const std::string path = folder_.file("chat.json");
    const std::string source =
        "{% for m in messages %}{% if m.content == 'no' %}{{ raise_exception('not ' + m.content) }}{% endif "
        "%}"
        "{{ m.content }}{% endfor %}";
    const Finished run =
        chat("In the beginning\nno\n/save " + path, {"--chat-template-file", write("chat.jinja", source)});
    EXPECT_EQ(run.exit_code, 1);
    expect_says(run, "not no");
    const json messages = load(path);
    ASSERT_EQ(messages.size(), 2U);
    EXPECT_EQ(messages[1]["content"], continuation("In the beginning"));
}

TEST_F(ChatCommand, SwitchesReachTheTemplate) {
    const std::string shown =
        write("chat.jinja",
              "{{ raise_exception(enable_thinking|string ~ thinking|string ~ '/' ~ effort|string) }}");
    const std::vector<std::string> flags = {"--chat-template-file", shown};
    const auto said = [&flags](std::vector<std::string> more) {
        more.insert(more.end(), flags.begin(), flags.end());
        return chat("Hello\n", more).err;
    };
    EXPECT_NE(said({"--reasoning", "off"}).find("FalseFalse/"), std::string::npos);
    EXPECT_NE(said({"--reasoning", "on"}).find("TrueTrue/"), std::string::npos);
    EXPECT_NE(said({"--reasoning-budget", "0"}).find("FalseFalse/"), std::string::npos);
    EXPECT_NE(said({"--reasoning", "auto"}).find(": /"), std::string::npos) << said({"--reasoning", "auto"});
    EXPECT_NE(said({"--chat-template-kwargs", R"({"effort": 1.0})"}).find("/1.0"), std::string::npos);
}

TEST_F(ChatCommand, SwitchThatTheTemplateLacksIsAWarning) {
    const Finished run = chat("Hello\n", {"--reasoning", "off"});
    EXPECT_EQ(run.exit_code, 0);
    expect_says(run, "warning: --reasoning has no effect");
}

TEST_F(ChatCommand, ReasoningIsKeptButNotPiped) {
    const std::string path = folder_.file("chat.json");
    const std::string source = "{{ messages[-1].content }}<think>\n";
    const Finished run =
        chat("In the beginning\n/save " + path, {"--chat-template-file", write("chat.jinja", source)});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_EQ(run.out, "\n");
    const json messages = load(path);
    EXPECT_EQ(messages[1]["content"], "");
    EXPECT_NE(messages[1]["reasoning_content"], "");
}

TEST_F(ChatCommand, BytesThatAreNoUtf8AreReplaced) {
    const std::string path = folder_.file("chat.json");
    const Finished run = chat("Gr\xfc\xdf\n/save " + path);
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_EQ(load(path)[0]["content"], "Gr\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST_F(ChatCommand, InterruptEndsTheAnswerCleanly) {
    Redirection input;
    input.stdin_text = "In the beginning\nNever said\n";
    Subprocess process(greenroom_argv({"chat", "-m", demo_model(), "-l", "4095-inf", "-l", "4093-inf"}),
                       input);
    using namespace std::chrono_literals;
    for (int i = 0; i < 3000 && process.out().empty(); ++i) std::this_thread::sleep_for(10ms);
    process.send_signal(SIGINT);
    const Finished finished = process.wait();
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    expect_says(finished, "interrupted");
}

TEST_F(ChatCommand, MissingTemplateFileIsToldByItsName) {
    const Finished run = chat("Hello\n", {"--chat-template-file", folder_.file("none.jinja")});
    EXPECT_EQ(run.exit_code, 1);
    expect_says(run, "none.jinja");
    EXPECT_EQ(run.out, "");
}

}  // namespace
}  // namespace greenroom::test
