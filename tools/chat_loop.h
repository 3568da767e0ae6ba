#pragma once

// ChatLoop: reads what the user says, line by line, and has it answered; carries out the commands (/help).
//
// Keeps references to all that it is made of.

#include "tools/chat.h"
#include "tools/chat_screen.h"
#include "tools/line_source.h"
#include "tools/progress_bar.h"

#include <string>
#include <string_view>

namespace greenroom::tools {

class ChatLoop {
  public:
    ChatLoop(LineSource& lines, Chat& chat, ProgressBar& bar);

    // Until the lines end, or /exit. Returns the exit code. What goes wrong is told to a person, who can go
    // on; a conversation through a pipe goes on too, and fails in the end. Throws where standard output or
    // the lines fail.
    int run();

  private:
    bool read_message(std::string& message);
    void ask(const std::string& message);
    void report(TurnEnd end);
    void run_command(std::string_view name, const std::string& argument);
    void save(const std::string& path);
    std::string stats() const;
    void tell_failure(std::string_view message);

    LineSource& lines_;
    Chat& chat_;
    ProgressBar& bar_;
    ChatScreen screen_;
    bool leaves_ = false;
    bool failed_ = false;
};

}  // namespace greenroom::tools
