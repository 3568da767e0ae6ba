#pragma once

// Text that a command takes from its flags or from a file.

#include <CLI/CLI.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::tools {

// The bytes of a file; "-" is standard input. Error{io}; Error{bad_input} for more than kMostTextBytes, which
// no text has that a model could read.
inline constexpr std::size_t kMostTextBytes = std::size_t{1} << 30;
std::string read_text_file(const std::string& path);

// The same without the newline at the end, which editors add and prompts don't want.
std::string read_prompt_file(const std::string& path);

// Replaces \n, \r, \t, \', \", \\ and \xHH by what they stand for; any other backslash stays as it is.
std::string unescape(std::string_view text);

// -p TEXT and -f FILE, of which one has to be given, and --no-escape.
class TextInput {
  public:
    // `what` names the text in the help ("The prompt"). Registers the flags; must live until they are parsed.
    TextInput(CLI::App& app, const std::string& what);

    bool is_given() const { return text_option_->count() + file_option_->count() > 0; }

    // Exit code 2 if neither flag was given.
    void require() const;

    // -p unescaped, or what -f names as it stands. Error{io}.
    std::string text() const;
    // The same; a file loses the newline at its end.
    std::string prompt() const;

    // Whether escapes in flags are meant.
    bool escapes() const noexcept { return !literal_; }

  private:
    std::string text_;
    std::string file_;
    bool literal_ = false;
    const CLI::Option* text_option_;
    const CLI::Option* file_option_;
};

}  // namespace greenroom::tools
