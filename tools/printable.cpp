#include "tools/printable.h"

#include "runtime/text/utf8.h"

#include <fmt/format.h>

#include <array>

namespace greenroom::tools {
namespace {

// C0, DEL and C1: what a terminal may take as a command.
bool is_control(char32_t c) { return c < 0x20 || (c >= 0x7F && c < 0xA0); }

void append_escaped(std::string& out, std::string_view bytes) {
    for (const char c : bytes) {
        switch (c) {
            case '\n':
                out += "\\n";
                break;
            case '\r':
                out += "\\r";
                break;
            case '\t':
                out += "\\t";
                break;
            default:
                out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        }
    }
}

template <std::size_t n>
std::string scaled(std::int64_t value, double step, const std::array<std::string_view, n>& units) {
    auto shown = static_cast<double>(value);
    std::size_t unit = 0;
    // 999.95 would be shown as 1000.0.
    while (shown >= step - 0.05 && unit + 1 < n) {
        shown /= step;
        ++unit;
    }
    if (unit == 0) return units[0].empty() ? fmt::format("{}", value) : fmt::format("{} {}", value, units[0]);
    return fmt::format("{:.1f} {}", shown, units[unit]);
}

}  // namespace

std::string printable(std::string_view text, std::size_t max_chars) {
    std::string out;
    for (std::size_t n_chars = 0; !text.empty(); ++n_chars) {
        if (n_chars == max_chars) return out + "…";
        const text::Utf8Char c = text::read_utf8(text);
        const std::string_view bytes = text.substr(0, c.size);
        if (c.status != text::Utf8Status::complete || is_control(c.code_point))
            append_escaped(out, bytes);
        else if (c.code_point == U'\\')
            out += "\\\\";
        else
            out += bytes;
        text.remove_prefix(c.size);
    }
    return out;
}

std::string counted(std::int64_t count, std::string_view one) {
    return fmt::format("{} {}{}", count, one, count == 1 ? "" : "s");
}

std::string human_bytes(std::int64_t bytes) {
    return scaled(bytes, 1024, std::array<std::string_view, 6>{"B", "KiB", "MiB", "GiB", "TiB", "PiB"});
}

std::string human_count(std::int64_t count) {
    return scaled(count, 1000, std::array<std::string_view, 5>{"", "k", "M", "B", "T"});
}

}  // namespace greenroom::tools
