#pragma once

// Command: one subcommand of the program. A command registers its flags with the program when it is made,
// keeps what they were set to, and runs at most once, after parsing.

#include <memory>

namespace CLI {
class App;
}

namespace greenroom::tools {

// Exit codes; scripts rely on them: don't renumber.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;    // a file, the machine or the program itself refused
inline constexpr int kExitBadUsage = 2;  // the command line is wrong; nothing was done

class Command {
  public:
    virtual ~Command() = default;

    // Does the work and returns the exit code. Throws greenroom::Error, or CLI::ParseError for a command line
    // whose mistake only shows now.
    virtual int run() = 0;

    const CLI::App& app() const noexcept { return app_; }

  protected:
    explicit Command(CLI::App& app) : app_(app) {}

    CLI::App& app_;  // belongs to the program, which outlives its commands
};

std::unique_ptr<Command> make_run_command(CLI::App& program);
std::unique_ptr<Command> make_chat_command(CLI::App& program);
std::unique_ptr<Command> make_inspect_command(CLI::App& program);
std::unique_ptr<Command> make_tokenize_command(CLI::App& program);
std::unique_ptr<Command> make_template_command(CLI::App& program);
std::unique_ptr<Command> make_logits_command(CLI::App& program);
std::unique_ptr<Command> make_perplexity_command(CLI::App& program);
std::unique_ptr<Command> make_bench_command(CLI::App& program);
std::unique_ptr<Command> make_tune_command(CLI::App& program);
std::unique_ptr<Command> make_trace_command(CLI::App& program);
std::unique_ptr<Command> make_simulate_command(CLI::App& program);

}  // namespace greenroom::tools
