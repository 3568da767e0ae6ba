// The program `greenroom`: finds the command, runs it, turns errors into a line on standard error and an exit
// code.

#include "gpu/device.h"
#include "quant/base/error.h"
#include "quant/base/log.h"
#include "tools/command.h"
#include "tools/interrupt.h"
#include "tools/options.h"
#include "tools/standard_streams.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace greenroom::tools {
namespace {

void print_log_line(LogLevel level, std::string_view line) {
    if (level == LogLevel::warning) write_message(fmt::format("greenroom: warning: {}\n", line));
}

// In pieces, so that it needs no memory.
void print_error(std::string_view message) noexcept {
    write_error("greenroom: error: ");
    write_message(message);
    write_error("\n");
}

std::string version_text() {
    return fmt::format("greenroom {}\nGPU: {}", GREENROOM_VERSION, gpu::gpu_status());
}

// greenroom help [COMMAND]
class HelpCommand : public Command {
  public:
    explicit HelpCommand(CLI::App& program)
        : Command(*program.add_subcommand("help", "Explain the program or a command")), program_(program) {
        app_.add_option("command", name_, "The command to explain")->type_name("");
    }

    int run() override {
        const auto has_name = [this](const CLI::App* command) { return command->get_name() == name_; };
        const auto found = program_.get_subcommands(has_name);
        if (found.empty() && !name_.empty())
            bad_usage("help", fmt::format("there is no command '{}'", name_));
        const CLI::App* explained = found.empty() ? &program_ : found.front();
        const std::string name = "greenroom" + (found.empty() ? "" : " " + name_);
        // Not explained->help(), which would explain the command that was called: this one.
        write_output(explained->get_formatter()->make_help(explained, name, CLI::AppFormatMode::Normal));
        return kExitOk;
    }

  private:
    const CLI::App& program_;
    std::string name_;
};

// "greenroom run": the program and the command that is called, as far as one is.
std::string called(const CLI::App& program) {
    const auto commands = program.get_subcommands();
    return "greenroom" + (commands.empty() ? "" : " " + commands.front()->get_name());
}

int tell_bad_usage(const CLI::App& program, const std::string& message) {
    print_error(message);
    write_message(fmt::format("Try `{} --help`.\n", called(program)));
    return kExitBadUsage;
}

int run_program(int argc, char** argv) {
    CLI::App program("Greenroom runs Mixture-of-Experts language models that are larger than the GPU.",
                     "greenroom");
    program.set_version_flag("--version", version_text, "Print the version and what GPU there is");
    program.footer(
        "`greenroom COMMAND --help` explains a command. Exit codes: 0 done, 1 failed, 2 bad usage.");
    program.require_subcommand(0, 1);
    // As llama.cpp has it: of a flag that is given twice the last one counts. Lists take all.
    program.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);

    std::vector<std::unique_ptr<Command>> commands;
    commands.push_back(make_run_command(program));
    commands.push_back(make_chat_command(program));
    commands.push_back(make_inspect_command(program));
    commands.push_back(make_tokenize_command(program));
    commands.push_back(make_template_command(program));
    commands.push_back(make_logits_command(program));
    commands.push_back(make_perplexity_command(program));
    commands.push_back(make_bench_command(program));
    commands.push_back(make_tune_command(program));
    commands.push_back(make_trace_command(program));
    commands.push_back(make_simulate_command(program));
    commands.push_back(std::make_unique<HelpCommand>(program));

    try {
        std::vector<std::string> arguments = spell_out(argc, argv);
        std::reverse(arguments.begin(), arguments.end());  // as parse() takes them
        program.parse(std::move(arguments));
        for (const auto& command : commands)
            if (command->app().parsed()) return command->run();
        write_output(program.help());
        return kExitOk;
    } catch (const CLI::CallForHelp&) {
        write_output(program.help());
        return kExitOk;
    } catch (const CLI::CallForVersion& version) {
        write_output(version.what() + std::string("\n"));
        return kExitOk;
    } catch (const CLI::ExtrasError&) {
        // The library's message lists them backwards.
        return tell_bad_usage(program, fmt::format("{}: not expected here; no flag or argument of {}",
                                                   fmt::join(program.remaining(true), " "), called(program)));
    } catch (const CLI::ParseError& error) {
        return tell_bad_usage(program, error.what());
    }
}

}  // namespace
}  // namespace greenroom::tools

int main(int argc, char** argv) {
    using namespace greenroom::tools;
    try {
        ignore_write_signals();
        greenroom::set_log_sink(print_log_line);
        return run_program(argc, argv);
    } catch (const OutputClosed&) {
        return kExitFailed;  // as quiet as `cat` in the same place
    } catch (const std::bad_alloc&) {
        print_error("out of memory. Use a smaller context (-c), a smaller batch (-b) or a smaller model");
    } catch (const std::exception& error) {
        print_error(error.what());
    }
    return kExitFailed;
}
