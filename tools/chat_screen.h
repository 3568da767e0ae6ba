#pragma once

// ChatScreen: shows an answer while it is written. The answer itself goes to standard output, and nothing
// else does where that is no terminal. Reasoning is dimmed, or, without colours, set off by a line before and
// behind it.

#include "runtime/text/output/output_message.h"

#include <string>
#include <string_view>

namespace greenroom::tools {

class ChatScreen {
  public:
    enum class Reasoning {
        show,  // beside the answer: on standard output if that is a terminal, else on standard error
        hide,
    };

    explicit ChatScreen(Reasoning reasoning);

    // What has been added to the answer. Throws what write_output() does.
    void show(const text::OutputMessage& part);

    // The answer is over: ends its line.
    void end_answer();

    // The answer failed on the way: leaves the terminal as it was.
    void drop_answer();

  private:
    enum class Part { none, reasoning, answer };

    void begin(Part part);
    void write(std::string_view text) const;  // to where the answer goes
    void write_reasoning(std::string_view text) const;

    bool shows_reasoning_;
    bool output_is_terminal_;
    bool uses_colours_;
    Part part_ = Part::none;
    bool at_line_start_ = true;
};

// Whether escape sequences may be written to a terminal: neither NO_COLOR (no-color.org) nor TERM=dumb says
// otherwise.
bool terminal_has_colours();

}  // namespace greenroom::tools
