// greenroom template, from outside.

#include "quant/gguf.h"
#include "quant/gguf_writer.h"
#include "tests/support/paths.h"
#include "tests/tools/subprocess.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace greenroom::test {
namespace {

class TemplateCommand : public testing::Test {
  protected:
    std::string write(const std::string& name, const std::string& text) const {
        std::ofstream(folder_.file(name), std::ios::binary) << text;
        return folder_.file(name);
    }

    // The tiny model with these entries.
    std::string model_with(const std::vector<std::pair<std::string, std::string>>& templates) const {
        const quant::Gguf model = quant::Gguf::open(mini_model());
        quant::GgufWriter writer;
        for (const quant::GgufEntry& entry : model.entries())
            if (!entry.key.starts_with("tokenizer.chat_template")) writer.add(entry);
        for (const auto& [key, source] : templates) writer.add_string(key, source);
        writer.write(folder_.file("model.gguf"));
        return folder_.file("model.gguf");
    }

    // What the command prints for the template of this source.
    Finished render(const std::string& source, const std::string& variables,
                    const std::vector<std::string>& flags = {}) const {
        std::vector<std::string> args = {"template", "--file", write("chat.jinja", source), "--input",
                                         write("variables.json", variables)};
        args.insert(args.end(), flags.begin(), flags.end());
        return greenroom(args);
    }

    const TempDir folder_;
};

void expect_printed(const Finished& run, const std::string& text) {
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_EQ(run.err, "");
    EXPECT_EQ(run.out, text);
}

void expect_failed(const Finished& run, int exit_code, const std::string& message) {
    EXPECT_EQ(run.exit_code, exit_code) << run.err;
    EXPECT_EQ(run.out, "");
    EXPECT_NE(run.err.find(message), std::string::npos) << run.err;
}

TEST_F(TemplateCommand, PrintsThePromptAndNothingElse) {
    std::ifstream file(test_data("chat/gpt-oss.cases.json"));
    const auto reference = nlohmann::ordered_json::parse(file);
    int n_rendered = 0;
    for (const auto& one : reference["cases"]) {
        if (!one.contains("expected") || n_rendered == 10) continue;
        SCOPED_TRACE(one["id"].get<std::string>());
        expect_printed(
            greenroom({"template", "--file", test_data("chat/gpt-oss.jinja").string(), "--now",
                       reference["now"], "--input", write("variables.json", one["context"].dump())}),
            one["expected"]);
        ++n_rendered;
    }
    EXPECT_EQ(n_rendered, 10);
}

TEST_F(TemplateCommand, ReadsStandardInput) {
    Redirection variables;
    variables.stdin_text = "{\"a\": \"Grüße\"}";
    expect_printed(
        greenroom({"template", "--file", write("chat.jinja", "{{ a }}\n\n"), "--input", "-"}, variables),
        "Grüße\n");
}

TEST_F(TemplateCommand, TellsTheTimeOfTheMachineUnlessToldAnother) {
    expect_printed(render("{{ strftime_now('%d %b %Y %H:%M:%S') }}", "{}", {"--now", "2026-03-05T14:07:09"}),
                   "05 Mar 2026 14:07:09");
    const Finished now = render("{{ strftime_now('%Y') | int >= 2026 }}", "{}");
    expect_printed(now, "True");
}

TEST_F(TemplateCommand, UsesTheTemplateAndTheTokensOfTheModel) {
    const std::string variables = write("variables.json", R"({"messages": [], "eos_token": "<mine>"})");
    const std::string model = model_with({{"tokenizer.chat_template", "{{ bos_token }}|{{ eos_token }}"},
                                          {"tokenizer.chat_template.short", "short"}});
    const std::string bos = greenroom({"tokenize", "-m", model, "--ids", "509"}).out;
    EXPECT_NE(bos, "");
    expect_printed(greenroom({"template", "-m", model, "--input", variables}), bos + "|<mine>");
    expect_printed(greenroom({"template", "-m", model, "--input", variables, "--name", "short"}), "short");
    expect_printed(greenroom({"template", "-m", model, "--input", variables, "--chat-template-file",
                              write("chat.jinja", "own {{ bos_token }}")}),
                   "own " + bos);
    // A template alone knows no model.
    expect_printed(render("[{{ bos_token }}]", "{}"), "[]");
}

TEST_F(TemplateCommand, ModelsWithoutATemplateSayWhatToDo) {
    const std::string model = model_with({});
    const std::string variables = write("variables.json", "{}");
    expect_failed(greenroom({"template", "-m", model, "--input", variables}), 1,
                  "tokenizer.chat_template is missing");
    expect_failed(greenroom({"template", "-m", model, "--input", variables}), 1,
                  "--chat-template-file FILE.jinja");
}

TEST_F(TemplateCommand, TroubleIsToldWithItsPlace) {
    expect_failed(render("a\n{{ raise_exception('no such role') }}", "{}"), 1, "chat.jinja:2: no such role");
    expect_failed(render("{% if %}", "{}"), 1, "chat.jinja:1: ");
    expect_failed(render("{% include 'x' %}", "{}"), 1, "chat.jinja:1: the tag 'include' is not supported");
    expect_failed(render("", "{\"a\": }"), 1, "variables.json: JSON: byte 6: ");
    expect_failed(render("", "[1]"), 1, "variables.json: found list; expected a JSON object");
    expect_failed(greenroom({"template", "--file", folder_.file("none.jinja"), "--input", "-"}), 1,
                  "none.jinja");
    expect_failed(
        greenroom({"template", "--file", write("chat.jinja", ""), "--input", folder_.file("none.json")}), 1,
        "none.json");
}

TEST_F(TemplateCommand, BadUsageIsExitCode2) {
    const std::string chat = write("chat.jinja", "");
    expect_failed(greenroom({"template", "--input", "-"}), 2, "there is no template");
    expect_failed(greenroom({"template", "--file", chat}), 2, "--input");
    expect_failed(greenroom({"template", "--file", chat, "--input", "-", "--now", "yesterday"}), 2,
                  "'yesterday' is no time");
    expect_failed(greenroom({"template", "--file", chat, "--input", "-", "--name", "x"}), 2, "--name");
}

}  // namespace
}  // namespace greenroom::test
