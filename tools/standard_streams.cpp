#include "tools/standard_streams.h"

#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace greenroom::tools {
namespace {

// Writes all of the text. Returns 0 or the error's number.
int write_all(int fd, std::string_view text) noexcept {
    while (!text.empty()) {
        const ssize_t written = ::write(fd, text.data(), text.size());
        if (written >= 0)
            text.remove_prefix(static_cast<std::size_t>(written));
        else if (errno != EINTR)
            return errno;
    }
    return 0;
}

}  // namespace

void write_output(std::string_view text) {
    const int error = write_all(STDOUT_FILENO, text);
    if (error == EPIPE) throw OutputClosed();
    if (error != 0)
        fail(ErrorKind::io, "standard output: cannot write: {}", std::generic_category().message(error));
}

void write_error(std::string_view text) noexcept { write_all(STDERR_FILENO, text); }

bool output_is_terminal() noexcept { return ::isatty(STDOUT_FILENO) == 1; }

bool error_is_terminal() noexcept { return ::isatty(STDERR_FILENO) == 1; }

}  // namespace greenroom::tools
