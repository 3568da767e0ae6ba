#include "tools/standard_streams.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
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

// Bytes of the control character that the text begins with: C0, DEL, or C1 as UTF-8. 0: another one.
std::size_t control_size(std::string_view text) noexcept {
    const auto byte = static_cast<unsigned char>(text[0]);
    if (byte == 0xC2 && text.size() > 1) {
        const auto next = static_cast<unsigned char>(text[1]);
        return next >= 0x80 && next < 0xA0 ? 2 : 0;
    }
    return (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F ? 1 : 0;
}

}  // namespace

void write_output(std::string_view text) {
    const int error = write_all(STDOUT_FILENO, text);
    if (error == EPIPE) throw OutputClosed();
    if (error != 0)
        fail(ErrorKind::io, "standard output: cannot write: {}", std::generic_category().message(error));
}

void write_error(std::string_view text) noexcept { write_all(STDERR_FILENO, text); }

void write_message(std::string_view text) noexcept {
    constexpr std::string_view kDigits = "0123456789abcdef";
    while (!text.empty()) {
        std::size_t n_plain = 0;
        while (n_plain < text.size() && control_size(text.substr(n_plain)) == 0) ++n_plain;
        write_error(text.substr(0, n_plain));
        text.remove_prefix(n_plain);
        for (std::size_t n = text.empty() ? 0 : control_size(text); n > 0; --n) {
            const auto byte = static_cast<unsigned char>(text[0]);
            const std::array<char, 4> escape = {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
            write_error({escape.data(), escape.size()});
            text.remove_prefix(1);
        }
    }
}

bool output_is_terminal() noexcept { return ::isatty(STDOUT_FILENO) == 1; }

bool error_is_terminal() noexcept { return ::isatty(STDERR_FILENO) == 1; }

}  // namespace greenroom::tools
