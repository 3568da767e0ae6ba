#pragma once

// Standard output, where answers and tables go and nothing else, and standard error, for all that is said
// about them. Unbuffered: what is written is there.

#include "quant/base/error.h"

#include <string_view>

namespace greenroom::tools {

// Nobody reads standard output any more (`greenroom … | head`). Ends the program without a message.
class OutputClosed : public Error {
  public:
    OutputClosed() : Error(ErrorKind::io, "standard output was closed by its reader") {}
};

// Error{io} when the text can't be written (a full disk), OutputClosed when there is no reader. Needs SIGPIPE
// to be ignored, see ignore_write_signals().
void write_output(std::string_view text);

// What can't be written is lost: no reason for the work to fail.
void write_error(std::string_view text) noexcept;

// The same for a message that may quote a file: control characters, which a terminal would obey, are written
// as \x1b; line feeds and tabs as they are. Needs no memory.
void write_message(std::string_view text) noexcept;

bool output_is_terminal() noexcept;
bool error_is_terminal() noexcept;

}  // namespace greenroom::tools
