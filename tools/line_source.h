#pragma once

// LineSource: the lines that a user says, one by one. From a terminal they come through a line editor with a
// history (libedit: arrow keys, Ctrl-A, Ctrl-R; ~/.editrc is read), from anywhere else as they are.
//
// Not thread-safe; at most one reads from a terminal at a time.

#include <memory>
#include <string>

namespace greenroom::tools {

class LineSource {
  public:
    enum class Status {
        line,
        interrupted,  // Ctrl-C in the editor; what was typed is dropped
        end,          // Ctrl-D on an empty line, or the end of the input
    };

    virtual ~LineSource() = default;
    LineSource() = default;
    LineSource(const LineSource&) = delete;
    LineSource& operator=(const LineSource&) = delete;

    // The next line, without its newline. `prompt` stands before it on a terminal. After `interrupted`,
    // `line` is what was typed before. Error{io} when it cannot be read.
    virtual Status read(const std::string& prompt, std::string& line) = 0;

    // Whether it is a terminal, with a person before it.
    virtual bool is_interactive() const noexcept = 0;
};

// Standard input. history_path: a file that keeps the lines from one run to the next, readable by its owner
// alone; empty: none. A file that cannot be read or written is a warning.
std::unique_ptr<LineSource> open_standard_input(const std::string& history_path);

// $XDG_STATE_HOME/greenroom/NAME or ~/.local/state/greenroom/NAME, in a folder that is made if it is missing.
// Empty when there is no such place.
std::string state_file_path(const std::string& name);

}  // namespace greenroom::tools
