#include "runtime/text/output/python_literal.h"

#include "runtime/text/output/json_text.h"
#include "runtime/text/utf8.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace greenroom::text {
namespace {

constexpr std::size_t kMostDepth = 256;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

bool begins_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

// Names of functions may hold more than Python allows.
bool continues_name(char c) { return begins_name(c) || (c >= '0' && c <= '9') || c == '.' || c == '-'; }

// Reads from left to right; each read_…() returns nothing where the text is not what it should be.
class Reader {
  public:
    explicit Reader(std::string_view text) : rest_(text) {}

    bool at_end() {
        skip_spaces();
        return rest_.empty();
    }

    // Takes the character if it comes next.
    bool take(char c) {
        skip_spaces();
        if (!rest_.starts_with(c)) return false;
        rest_.remove_prefix(1);
        return true;
    }

    std::string_view read_name() {
        skip_spaces();
        if (rest_.empty() || !begins_name(rest_.front())) return {};
        const auto end = std::find_if_not(rest_.begin(), rest_.end(), continues_name);
        return take_bytes(static_cast<std::size_t>(end - rest_.begin()));
    }

    // Appends the literal as JSON.
    bool read_value(std::string& json, std::size_t depth) {
        skip_spaces();
        if (rest_.empty() || depth > kMostDepth) return false;
        switch (rest_.front()) {
            case '[':
                return read_items(json, '[', ']', depth);
            case '(':
                return read_items(json, '(', ')', depth);
            case '{':
                return read_dict(json, depth);
            case '"':
            case '\'':
                return read_string_as_json(json);
            default:
                return read_word(json);
        }
    }

    std::optional<std::string> read_string();

  private:
    void skip_spaces() {
        const auto end = std::find_if_not(rest_.begin(), rest_.end(), is_space);
        rest_.remove_prefix(static_cast<std::size_t>(end - rest_.begin()));
    }

    std::string_view take_bytes(std::size_t n_bytes) {
        const std::string_view taken = rest_.substr(0, n_bytes);
        rest_.remove_prefix(n_bytes);
        return taken;
    }

    bool read_string_as_json(std::string& json) {
        const std::optional<std::string> text = read_string();
        if (text) json += json_quoted(*text);
        return text.has_value();
    }

    bool read_word(std::string& json);
    bool read_items(std::string& json, char open, char close, std::size_t depth);
    bool read_dict(std::string& json, std::size_t depth);
    bool read_escape(std::string& text);
    std::optional<char32_t> read_hex(std::size_t n_digits);

    std::string_view rest_;
};

// True, None, a number.
bool Reader::read_word(std::string& json) {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kNames = {
        {{"True", "true"}, {"False", "false"}, {"None", "null"}}};
    static constexpr std::string_view kMarks = ",:()[]{}\"'=";
    const auto ends_word = [](char c) { return is_space(c) || kMarks.find(c) != std::string_view::npos; };
    const auto end = std::find_if(rest_.begin(), rest_.end(), ends_word);
    const std::string_view word = take_bytes(static_cast<std::size_t>(end - rest_.begin()));
    for (const auto& [python, value] : kNames) {
        if (word != python) continue;
        json += value;
        return true;
    }
    if (!is_json(word)) return false;
    json += word;
    return true;
}

bool Reader::read_items(std::string& json, char open, char close, std::size_t depth) {
    take(open);
    json += '[';
    for (bool first = true; !take(close); first = false) {
        if (!first) {
            if (!take(',')) return false;
            if (take(close)) break;
            json += ", ";
        }
        if (!read_value(json, depth + 1)) return false;
    }
    json += ']';
    return true;
}

bool Reader::read_dict(std::string& json, std::size_t depth) {
    take('{');
    json += '{';
    for (bool first = true; !take('}'); first = false) {
        if (!first) {
            if (!take(',')) return false;
            if (take('}')) break;
            json += ", ";
        }
        skip_spaces();
        if (!read_string_as_json(json) || !take(':')) return false;
        json += ": ";
        if (!read_value(json, depth + 1)) return false;
    }
    json += '}';
    return true;
}

std::optional<std::string> Reader::read_string() {
    if (rest_.empty() || (rest_.front() != '"' && rest_.front() != '\'')) return std::nullopt;
    const char quote = take_bytes(1).front();
    std::string text;
    while (!rest_.empty()) {
        const char c = take_bytes(1).front();
        if (c == quote) return text;
        if (c != '\\')
            text += c;
        else if (!read_escape(text))
            return std::nullopt;
    }
    return std::nullopt;
}

// What follows a backslash.
bool Reader::read_escape(std::string& text) {
    constexpr std::array<std::pair<char, std::string_view>, 11> kEscapes = {{{'\\', "\\"},
                                                                             {'\'', "'"},
                                                                             {'"', "\""},
                                                                             {'n', "\n"},
                                                                             {'t', "\t"},
                                                                             {'r', "\r"},
                                                                             {'a', "\a"},
                                                                             {'b', "\b"},
                                                                             {'f', "\f"},
                                                                             {'v', "\v"},
                                                                             {'\n', ""}}};
    if (rest_.empty()) return false;
    const char c = take_bytes(1).front();
    for (const auto& [letter, meaning] : kEscapes) {
        if (c != letter) continue;
        text += meaning;
        return true;
    }
    if (c != 'x' && c != 'u' && c != 'U') {
        text += '\\';  // Python keeps an escape that it does not know
        text += c;
        return true;
    }
    const std::optional<char32_t> code_point = read_hex(c == 'x' ? 2 : c == 'u' ? 4 : 8);
    if (!code_point) return false;
    append_utf8(text, *code_point);
    return true;
}

std::optional<char32_t> Reader::read_hex(std::size_t n_digits) {
    const std::string_view digits = take_bytes(std::min(n_digits, rest_.size()));
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    const bool is_scalar = value < 0xD800 || (value > 0xDFFF && value <= 0x10FFFF);
    if (digits.size() != n_digits || error != std::errc{} || end != digits.data() + digits.size() ||
        !is_scalar)
        return std::nullopt;
    return static_cast<char32_t>(value);
}

std::optional<ToolCall> read_call(Reader& reader) {
    ToolCall call;
    call.name = reader.read_name();
    if (call.name.empty() || !reader.take('(')) return std::nullopt;
    JsonObjectWriter arguments;
    for (bool first = true; !reader.take(')'); first = false) {
        if (!first && !reader.take(',')) return std::nullopt;
        const std::string_view key = reader.read_name();
        std::string value;
        if (key.empty() || !reader.take('=') || !reader.read_value(value, 0)) return std::nullopt;
        arguments.add(key, std::move(value));
    }
    call.arguments = arguments.text();
    return call;
}

}  // namespace

std::optional<std::string> python_literal_to_json(std::string_view text) {
    Reader reader(text);
    std::string json;
    if (!reader.read_value(json, 0) || !reader.at_end()) return std::nullopt;
    return json;
}

std::optional<std::vector<ToolCall>> parse_python_calls(std::string_view list) {
    Reader reader(list);
    std::vector<ToolCall> calls;
    if (!reader.take('[')) return std::nullopt;
    do {
        std::optional<ToolCall> call = read_call(reader);
        if (!call) return std::nullopt;
        calls.push_back(std::move(*call));
    } while (reader.take(','));
    if (!reader.take(']') || !reader.at_end()) return std::nullopt;
    return calls;
}

std::size_t PythonCallsScanner::push(std::string_view text) {
    std::size_t n_taken = 0;
    while (n_taken < text.size() && !complete() && !invalid()) take(text[n_taken++]);
    return n_taken;
}

void PythonCallsScanner::take(char c) {
    switch (state_) {
        case State::bracket:
            state_ = c == '[' ? State::before_name : State::invalid;
            depth_ = 1;
            break;
        case State::before_name:
            if (!is_space(c)) state_ = begins_name(c) ? State::name : State::invalid;
            break;
        case State::name:
        case State::after_name:
            if (c == '(')
                state_ = State::arguments, depth_ = 2;
            else if (is_space(c))
                state_ = State::after_name;
            else if (state_ == State::after_name || !continues_name(c))
                state_ = State::invalid;
            break;
        case State::arguments:
            take_in_arguments(c);
            break;
        case State::complete:
        case State::invalid:
            break;
    }
}

// What the brackets enclose is read when the list is complete.
void PythonCallsScanner::take_in_arguments(char c) {
    if (quote_ != '\0') {
        if (escaped_)
            escaped_ = false;
        else if (c == '\\')
            escaped_ = true;
        else if (c == quote_)
            quote_ = '\0';
    } else if (c == '"' || c == '\'') {
        quote_ = c;
    } else if (c == '(' || c == '[' || c == '{') {
        ++depth_;
    } else if (c == ')' || c == ']' || c == '}') {
        if (--depth_ == 0) state_ = State::complete;
    }
}

}  // namespace greenroom::text
