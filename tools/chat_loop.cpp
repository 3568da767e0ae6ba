#include "tools/chat_loop.h"

#include "quant/base/error.h"
#include "tools/command.h"
#include "tools/interrupt.h"
#include "tools/partial_file.h"
#include "tools/standard_streams.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace greenroom::tools {
namespace {

constexpr std::string_view kBlanks = " \t\r";

constexpr std::string_view kHelp =
    "/help       this list\n"
    "/reset      forget the conversation, keep the system prompt\n"
    "/save FILE  write the conversation as JSON messages\n"
    "/stats      tokens, speed, and what the context still holds\n"
    "/exit       leave, as does Ctrl-D\n"
    "A line that ends in \\ goes on in the next. Ctrl-C stops an answer.\n";

struct CommandLine {
    std::string_view name;
    std::string_view argument;
};

std::string_view without_blanks(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

// "/save a file": save, "a file". Nothing where the first word is more than a slash and letters: /etc/passwd
// is text.
std::optional<CommandLine> parse_command(std::string_view line) {
    if (!line.starts_with('/')) return std::nullopt;
    const std::size_t end = std::min(line.find_first_of(kBlanks), line.size());
    const std::string_view name = line.substr(1, end - 1);
    const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
    if (name.empty() || !std::all_of(name.begin(), name.end(), is_letter)) return std::nullopt;
    return CommandLine{name, without_blanks(line.substr(end))};
}

std::string speed_text(std::int64_t n_tokens, double seconds) {
    return n_tokens > 0 && seconds > 0
               ? fmt::format(" ({:.1f} tok/s)", static_cast<double>(n_tokens) / seconds)
               : "";
}

std::string figures_text(const TurnFigures& turn) {
    const std::int64_t n_evaluated = turn.n_prompt_tokens - turn.n_reused_tokens;
    return fmt::format("prompt {} tokens, {} of them in the KV cache, {} evaluated{} | generated {} tokens{}",
                       turn.n_prompt_tokens, turn.n_reused_tokens, n_evaluated,
                       speed_text(n_evaluated, turn.prefill_s), turn.n_generated,
                       speed_text(turn.n_decoded, turn.decode_s));
}

}  // namespace

ChatLoop::ChatLoop(LineSource& lines, Chat& chat, ProgressBar& bar)
    : lines_(lines),
      chat_(chat),
      bar_(bar),
      screen_(lines.is_interactive() ? ChatScreen::Reasoning::show : ChatScreen::Reasoning::hide) {}

int ChatLoop::run() {
    for (std::string message; !leaves_ && read_message(message);) {
        if (without_blanks(message).empty()) continue;
        if (const auto command = parse_command(message))
            run_command(command->name, std::string(command->argument));
        else
            ask(message);
    }
    return failed_ && !lines_.is_interactive() ? kExitFailed : kExitOk;
}

// False at the end. A person may go on in the next line after a backslash, and leaves with two Ctrl-C in a
// row.
bool ChatLoop::read_message(std::string& message) {
    message.clear();
    bool was_interrupted = false;
    for (std::string line;;) {
        switch (lines_.read(message.empty() ? "> " : ". ", line)) {
            case LineSource::Status::end:
                return !message.empty();
            case LineSource::Status::interrupted:
                if (was_interrupted && line.empty() && message.empty()) return false;
                if (line.empty() && message.empty()) write_error("Ctrl-C again, Ctrl-D or /exit leaves.\n");
                was_interrupted = line.empty() && message.empty();
                message.clear();
                continue;
            case LineSource::Status::line:
                break;
        }
        was_interrupted = false;
        message += line;
        if (!lines_.is_interactive() || !line.ends_with('\\')) return true;
        message.back() = '\n';
    }
}

void ChatLoop::ask(const std::string& message) {
    Chat::AskOptions options;
    options.on_part = [this](const text::OutputMessage& part) {
        bar_.clear();
        screen_.show(part);
    };
    options.progress = bar_.reporter();
    options.cancelled = &catch_interrupt();
    TurnEnd end = TurnEnd::answered;
    try {
        end = chat_.ask(message, options);
    } catch (const OutputClosed&) {
        throw;
    } catch (const Error& error) {
        // Standard output is no part of the conversation: there is nobody to go on with.
        if (error.kind() == ErrorKind::io) throw;
        bar_.clear();
        screen_.drop_answer();
        release_interrupt();
        return tell_failure(error.what());
    }
    bar_.clear();
    release_interrupt();
    if (end != TurnEnd::does_not_fit && end != TurnEnd::not_answered) screen_.end_answer();
    report(end);
}

void ChatLoop::report(TurnEnd end) {
    switch (end) {
        case TurnEnd::answered:
            return;
        case TurnEnd::max_tokens:
            return write_error("[the answer ends at the limit of -n]\n");
        case TurnEnd::cancelled:
        case TurnEnd::not_answered:
            write_error(end == TurnEnd::cancelled ? "[interrupted; the conversation keeps what was said]\n"
                                                  : "[interrupted; what you said is taken back]\n");
            leaves_ = !lines_.is_interactive();
            return;
        case TurnEnd::context_full:
            return tell_failure(
                fmt::format("the context of {} tokens is full, and the answer ends there. The conversation "
                            "is kept (/save FILE); /reset begins a new one, a larger -c holds more",
                            chat_.n_context()));
        case TurnEnd::does_not_fit:
            return tell_failure(fmt::format(
                "the conversation with this message has {} tokens, and the context holds {}: it is full. The "
                "message is taken back and the conversation kept (/save FILE); /reset begins a new one, a "
                "larger -c holds more",
                chat_.n_prompt_tokens(), chat_.n_context()));
    }
}

void ChatLoop::run_command(std::string_view name, const std::string& argument) {
    if (name == "help") {
        write_error(kHelp);
    } else if (name == "reset") {
        chat_.reset();
        write_error("[the conversation is forgotten]\n");
    } else if (name == "save") {
        save(argument);
    } else if (name == "stats") {
        write_error(stats());
    } else if (name == "exit") {
        leaves_ = true;
    } else {
        tell_failure(fmt::format(
            "there is no command /{}; /help lists them. To say this, put a space before it", name));
    }
}

void ChatLoop::save(const std::string& path) {
    if (path.empty()) return tell_failure("/save needs the name of a file, as in /save chat.json");
    try {
        const std::string json = to_json(chat_.messages()) + "\n";
        write_file(path, json);
        write_error(fmt::format("[{} messages written to {}]\n", chat_.messages().size(), path));
    } catch (const Error& error) {
        tell_failure(error.what());
    }
}

std::string ChatLoop::stats() const {
    std::string text;
    if (chat_.n_turns() > 0) text += fmt::format("last answer: {}\n", figures_text(chat_.last_turn()));
    if (chat_.n_turns() > 1)
        text += fmt::format("{} answers: {}\n", chat_.n_turns(), figures_text(chat_.all_turns()));
    return text + fmt::format("context: {} of {} tokens used, {} left\n", chat_.n_context_used(),
                              chat_.n_context(), chat_.n_context() - chat_.n_context_used());
}

void ChatLoop::tell_failure(std::string_view message) {
    failed_ = true;
    write_message(fmt::format("greenroom: error: {}\n", message));
}

}  // namespace greenroom::tools
