#include "tools/text_input.h"

#include "quant/base/error.h"
#include "tools/options.h"

#include <sys/stat.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <system_error>

namespace greenroom::tools {
namespace {

// The byte that the two hexadecimal digits at the front of `text` name.
std::optional<char> hex_byte(std::string_view text) {
    unsigned char byte = 0;
    if (text.size() < 2) return std::nullopt;
    const auto [end, error] = std::from_chars(text.data(), text.data() + 2, byte, 16);
    if (error != std::errc{} || end != text.data() + 2) return std::nullopt;
    return static_cast<char>(byte);
}

// What a single character after a backslash stands for.
std::optional<char> escaped_char(char c) {
    switch (c) {
        case 'n':
            return '\n';
        case 'r':
            return '\r';
        case 't':
            return '\t';
        case '\'':
        case '"':
        case '\\':
            return c;
        default:
            return std::nullopt;
    }
}

void check_text_size(const std::string& name, std::uint64_t bytes) {
    if (bytes > kMostTextBytes)
        fail(ErrorKind::bad_input, "{}: more than {} MiB; expected a text. Is it the right file?", name,
             kMostTextBytes >> 20);
}

std::string without_final_newline(std::string text) {
    if (text.ends_with('\n')) text.pop_back();
    return text;
}

}  // namespace

std::string read_text_file(const std::string& path) {
    const bool is_stdin = path == "-";
    const std::string name = is_stdin ? "standard input" : path;
    const auto close = [](std::FILE* file) {
        if (file != stdin) std::fclose(file);
    };
    const std::unique_ptr<std::FILE, decltype(close)> file(is_stdin ? stdin : std::fopen(path.c_str(), "rb"),
                                                           close);
    if (!file) fail(ErrorKind::io, "{}: cannot open: {}", name, std::generic_category().message(errno));

    struct stat info {};
    if (::fstat(::fileno(file.get()), &info) == 0 && S_ISREG(info.st_mode))
        check_text_size(name, static_cast<std::uint64_t>(info.st_size));
    std::string text;
    char buffer[1 << 16];
    while (const std::size_t n = std::fread(buffer, 1, sizeof buffer, file.get())) {
        check_text_size(name, text.size() + n);
        text.append(buffer, n);
    }
    if (std::ferror(file.get()) != 0)
        fail(ErrorKind::io, "{}: cannot read: {}", name, std::generic_category().message(errno));
    return text;
}

std::string read_prompt_file(const std::string& path) { return without_final_newline(read_text_file(path)); }

std::string unescape(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        std::size_t taken = 1;
        char c = text.front();
        if (c == '\\' && text.size() > 1) {
            if (const auto simple = escaped_char(text[1])) {
                c = *simple;
                taken = 2;
            } else if (const auto byte = text[1] == 'x' ? hex_byte(text.substr(2)) : std::nullopt) {
                c = *byte;
                taken = 4;
            }
        }
        out += c;
        text.remove_prefix(taken);
    }
    return out;
}

TextInput::TextInput(CLI::App& app, const std::string& what) {
    CLI::Option* text = app.add_option("-p,--prompt", text_, what)->type_name("TEXT");
    CLI::Option* file =
        app.add_option("-f,--file", file_, what + " from a file as it stands; - reads standard input")
            ->type_name("FILE")
            ->excludes(text);
    app.add_flag("--no-escape", literal_, "Read \\n, \\t, \\\\, \\x41 … in flags literally, not as escapes");
    app.add_flag("-e,--escape")->group("");  // llama.cpp's name for what is the default
    text_option_ = text;
    file_option_ = file;
}

void TextInput::require() const {
    if (!is_given()) bad_usage("--prompt", "there is no text; give one with -p TEXT or -f FILE");
}

std::string TextInput::text() const {
    if (file_option_->count() > 0) return read_text_file(file_);
    return literal_ ? text_ : unescape(text_);
}

std::string TextInput::prompt() const { return file_option_->count() > 0 ? read_prompt_file(file_) : text(); }

}  // namespace greenroom::tools
