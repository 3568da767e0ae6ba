// greenroom template: the prompt that a chat template makes of a conversation. Needs the vocabulary at most,
// not the weights.

#include "quant/base/error.h"
#include "quant/gguf.h"
#include "runtime/text/chat_template.h"
#include "runtime/text/jinja/date_time.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/json.h"
#include "runtime/text/tokenizer.h"
#include "tools/command.h"
#include "tools/options.h"
#include "tools/standard_streams.h"
#include "tools/text_input.h"

namespace greenroom::tools {
namespace {

using text::jinja::DateTime;

constexpr const char* kExamples =
    R"(Prints the prompt and nothing else. The variables are one JSON object, given to the template as they are:
{"messages": [{"role": "user", "content": "Hi"}], "tools": null, "add_generation_prompt": true}
bos_token and eos_token are the model's where the object lacks them and there is a model.

Examples:
  greenroom template -m model.gguf --input variables.json
  greenroom template --file chat.jinja --input - < variables.json)";

// Accepts what DateTime::parse() does.
CLI::Validator time_of_day() {
    const auto check = [](std::string& given) {
        try {
            DateTime::parse(given);
            return std::string();
        } catch (const Error& error) {
            return std::string(error.what());
        }
    };
    return CLI::Validator(check, "");
}

class TemplateCommand : public Command {
  public:
    explicit TemplateCommand(CLI::App& program)
        : Command(*program.add_subcommand("template", "Print the prompt that a chat template makes")) {
        app_.footer(kExamples);
        add_model_option(app_, model_path_);
        app_.get_option("--model")->required(false);
        app_.add_option("--file,--chat-template-file", template_path_,
                        "A template to use instead of the model's")
            ->type_name("FILE");
        app_.add_option("--name", name_, "The template tokenizer.chat_template.NAME of the model")
            ->type_name("NAME")
            ->needs("--model")
            ->excludes("--file");
        app_.add_option("--input", input_path_, "The variables; - reads standard input")
            ->required()
            ->type_name("FILE");
        app_.add_option("--now", now_, "The time that the template is told, by default the machine's")
            ->check(time_of_day())
            ->type_name("2026-03-05T14:07:09");
    }

    int run() override {
        if (model_path_.empty() && template_path_.empty())
            bad_usage("--file",
                      "there is no template; give a model with -m FILE or a template with --file FILE");
        const text::ChatTemplate chat_template = load_template();
        const text::jinja::Value variables = read_variables();
        write_output(chat_template.render_variables(variables,
                                                    now_.empty() ? DateTime::now() : DateTime::parse(now_)));
        return kExitOk;
    }

  private:
    text::ChatTemplate load_template() const {
        text::BosEosTexts bos_eos;
        if (!model_path_.empty()) {
            const quant::Gguf gguf = quant::Gguf::open(model_path_, quant::SplitParts::first_only);
            const text::Tokenizer tokenizer = text::Tokenizer::load(gguf);
            if (template_path_.empty()) return text::ChatTemplate::load(gguf, tokenizer, name_);
            bos_eos = text::BosEosTexts::of(tokenizer);
        }
        return {read_text_file(template_path_), template_path_, std::move(bos_eos)};
    }

    text::jinja::Value read_variables() const {
        const std::string json = read_text_file(input_path_);
        const std::string name = input_path_ == "-" ? "standard input" : input_path_;
        text::jinja::Value variables;
        try {
            variables = text::jinja::parse_json(json);
        } catch (const Error& error) {
            fail(error.kind(), "{}: {}", name, error.what());
        }
        if (variables.get<text::jinja::Dict>() == nullptr)
            fail(ErrorKind::bad_input, "{}: found {}; expected a JSON object of the template's variables",
                 name, type_name(variables));
        return variables;
    }

    std::string model_path_;
    std::string template_path_;
    std::string name_;
    std::string input_path_;
    std::string now_;
};

}  // namespace

std::unique_ptr<Command> make_template_command(CLI::App& program) {
    return std::make_unique<TemplateCommand>(program);
}

}  // namespace greenroom::tools
