// greenroom chat: a conversation in the terminal, or line by line through a pipe.

#include "quant/base/error.h"
#include "runtime/engine.h"
#include "runtime/idle_filler.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/json.h"
#include "tools/chat.h"
#include "tools/chat_format.h"
#include "tools/chat_loop.h"
#include "tools/command.h"
#include "tools/line_source.h"
#include "tools/memory_options.h"
#include "tools/options.h"
#include "tools/profile_file.h"
#include "tools/progress_bar.h"
#include "tools/standard_streams.h"
#include "tools/text_input.h"

#include <fmt/format.h>

#include <map>
#include <memory>
#include <string>

namespace greenroom::tools {
namespace {

constexpr const char* kExamples =
    R"(In a terminal, lines are edited with the keys of Emacs and kept in a history (arrow up, Ctrl-R). A line that ends in \
goes on in the next. Ctrl-C stops an answer, Ctrl-D on an empty line ends the program. /help lists the commands.
From a pipe or a file, every line is said in turn, and only the answers go to standard output.

The KV cache is kept between turns. A model without a chat template continues a transcript "User: ...
Assistant: ...", which is said at the start.

Examples:
  greenroom chat -m model.gguf
  greenroom chat -m model.gguf -sys "Answer in one sentence." --reasoning off
  printf 'Hi.\nWhat did I say?\n' | greenroom chat -m model.gguf --temp 0)";

// Accepts a JSON object.
CLI::Validator json_object() {
    const auto check = [](std::string& given) {
        try {
            const text::jinja::Value value = text::jinja::parse_json(given);
            if (value.get<text::jinja::Dict>() != nullptr) return std::string();
        } catch (const Error& error) {
            return fmt::format("found '{}', expected a JSON object: {}", given, error.what());
        }
        return fmt::format("found '{}', expected a JSON object", given);
    };
    return CLI::Validator(check, "");
}

class ChatCommand : public Command {
  public:
    explicit ChatCommand(CLI::App& program)
        : Command(*program.add_subcommand("chat", "Talk with a model, turn by turn")) {
        app_.footer(kExamples);
        add_model_option(app_, model_path_);
        auto* system = app_.add_option("--system-prompt", options_.system_prompt,
                                       "What the model is told first; also -sys")
                           ->type_name("TEXT");
        app_.add_option("--system-prompt-file", system_prompt_path_, "The same from a file; also -sysf")
            ->type_name("FILE")
            ->excludes(system);
        app_.add_option("--chat-template-file", format_options_.template_path,
                        "A chat template (Jinja) to use instead of the model's")
            ->type_name("FILE");
        app_.add_option("--chat-template-kwargs", format_options_.template_variables,
                        R"(Variables for the template, as in {"reasoning_effort": "high"})")
            ->check(json_object())
            ->type_name("JSON");
        add_reasoning_options();
        app_.add_option("-n,--predict,--n-predict", options_.max_tokens,
                        "Most tokens of an answer; -1: until the model ends it or the context is full")
            ->check(whole_number(-1, kMaxTokens))
            ->type_name("N")
            ->capture_default_str();
        app_.add_option("-c,--ctx-size", options_.session.context_tokens,
                        fmt::format("Tokens that the context holds; 0: the model's, but at most {}",
                                    runtime::kDefaultContextTokens))
            ->check(whole_number(0, kMaxTokens))
            ->type_name("N")
            ->capture_default_str();
        app_.add_flag("--no-history", no_history_,
                      "Neither read nor keep the lines of earlier conversations");
        add_evaluation_options(app_, options_.session, memory_, threads_);
        add_sampling_options(app_, options_.sampler);
    }

    int run() override {
        if (!system_prompt_path_.empty()) options_.system_prompt = read_prompt_file(system_prompt_path_);
        const std::unique_ptr<LineSource> lines =
            open_standard_input(no_history_ ? "" : state_file_path("chat_history"));

        ProgressBar bar;
        const StartProfile profile = StartProfile::find(model_path_);
        const auto engine = runtime::Engine::open(model_path_, profile.threads(threads_));
        if (app_.count("--batch-size") == 0)
            options_.session.batch_tokens = choose_batch(*engine, profile, memory_, options_.session);
        engine->load_weights(load_options(*engine, profile, memory_, options_.session, bar.reporter()));
        const ChatFormat format(*engine, format_options_);
        Chat chat(*engine, format, options_);
        const runtime::IdleFiller filler(*engine);  // while the user reads and types
        bar.clear();
        write_error(device_text(*engine));
        if (format.is_transcript())
            write_error(
                "The model has no chat template (tokenizer.chat_template): it continues a transcript "
                "\"User: ... Assistant: ...\". --chat-template-file FILE gives it one.\n");
        if (lines->is_interactive())
            write_error(fmt::format("Context of {} tokens. /help lists the commands, Ctrl-D leaves.\n",
                                    chat.n_context()));

        return ChatLoop(*lines, chat, bar).run();
    }

  private:
    void add_reasoning_options() {
        static const std::map<std::string, Reasoning> kNames = {
            {"auto", Reasoning::as_template}, {"on", Reasoning::on}, {"off", Reasoning::off}};
        auto* reasoning =
            app_.add_option_function<std::string>(
                    "--reasoning",
                    [this](const std::string& name) { format_options_.reasoning = kNames.at(name); },
                    "Whether the model reasons first, where its template has a switch (enable_thinking, "
                    "thinking); "
                    "auto: as the template has it")
                ->check(one_of({"auto", "on", "off"}))
                ->type_name("auto|on|off")
                ->default_str("auto");
        app_.add_option_function<std::string>(
                "--reasoning-budget",
                [this](const std::string& budget) {
                    format_options_.reasoning = budget == "0" ? Reasoning::off : Reasoning::as_template;
                },
                "0: as --reasoning off; -1: as --reasoning auto")
            ->check(one_of({"-1", "0"}))
            ->type_name("N")
            ->excludes(reasoning);
    }

    std::string model_path_;
    std::string system_prompt_path_;
    runtime::ThreadOptions threads_;
    MemoryFlags memory_;
    bool no_history_ = false;
    ChatFormatOptions format_options_;
    ChatOptions options_;
};

}  // namespace

std::unique_ptr<Command> make_chat_command(CLI::App& program) {
    return std::make_unique<ChatCommand>(program);
}

}  // namespace greenroom::tools
