#pragma once

// The lexer: a template's source as tokens, its text cut as trim_blocks, lstrip_blocks and the signs in {%-
// -%} ask.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::text::jinja {

enum class TokenKind : std::uint8_t {
    text,         // between the tags, as it is printed
    print_begin,  // {{
    print_end,    // }}
    block_begin,  // {%
    block_end,    // %}
    name,
    string,   // without quotes, escapes replaced
    integer,  // decimal digits
    real,
    symbol,  // an operator or a bracket
    end,     // of the template
};

struct Token {
    TokenKind kind;
    std::string text;
    int line;  // from 1
};

// The source must be UTF-8. Error{bad_input} begins with "NAME:LINE: ". The last token is `end`.
std::vector<Token> tokenize(std::string_view source, std::string_view name);

// "end of print statement", "'}'": a token as messages name it.
std::string describe(const Token& token);

}  // namespace greenroom::text::jinja
