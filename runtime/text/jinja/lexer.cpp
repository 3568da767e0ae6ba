#include "runtime/text/jinja/lexer.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/code_points.h"
#include "runtime/text/utf8.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace greenroom::text::jinja {
namespace {

// "\n" for every line end, and without the one at the very end.
std::string normalize_line_ends(std::string_view source) {
    std::string out;
    out.reserve(source.size());
    for (std::size_t i = 0; i < source.size(); ++i) {
        if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
        out += source[i] == '\r' ? '\n' : source[i];
    }
    if (out.ends_with('\n')) out.pop_back();
    return out;
}

// What a sign behind {% or before %} asks for.
enum class Sign : char { none = '\0', strip = '-', keep = '+' };

class Lexer {
  public:
    Lexer(std::string_view source, std::string_view name)
        : source_(normalize_line_ends(source)), name_(name), rest_(source_) {}

    std::vector<Token> run() {
        while (!rest_.empty()) read_text_and_tag();
        add(TokenKind::end, "");
        return std::move(tokens_);
    }

  private:
    void read_text_and_tag() {
        const std::size_t size = find_tag(rest_);
        const std::string_view text = rest_.substr(0, size);
        const int text_line = line_;
        const bool begins_line = at_line_begin_;
        advance(size);
        if (rest_.empty()) return add_text(text, text_line);

        const char tag = rest_[1];
        advance(2);
        const Sign sign = take_sign();
        add_text(tag == '{' ? strip_before_print(text, sign) : strip_before_block(text, sign, begins_line),
                 text_line);
        if (tag == '#') return skip_comment();
        if (tag == '%' && take_raw_begin()) return read_raw();
        read_tag(tag);
    }

    // Where the next {{, {% or {# stands; the end if there is none.
    static std::size_t find_tag(std::string_view text) {
        for (std::size_t at = text.find('{'); at != text.npos; at = text.find('{', at + 1)) {
            const char next = at + 1 < text.size() ? text[at + 1] : '\0';
            if (next == '{' || next == '%' || next == '#') return at;
        }
        return text.size();
    }

    Sign take_sign() {
        if (rest_.starts_with('-') || rest_.starts_with('+')) {
            const auto sign = static_cast<Sign>(rest_.front());
            advance(1);
            return sign;
        }
        return Sign::none;
    }

    static std::string_view strip_before_print(std::string_view text, Sign sign) {
        return sign == Sign::strip ? strip(text, Side::right) : text;
    }

    // lstrip_blocks: blanks between the beginning of a line and a block go.
    static std::string_view strip_before_block(std::string_view text, Sign sign, bool begins_line) {
        if (sign != Sign::none) return strip_before_print(text, sign);
        const std::size_t line_begin = text.rfind('\n') + 1;  // npos + 1 is 0
        return (line_begin > 0 || begins_line) && strip(text.substr(line_begin)).empty()
                   ? text.substr(0, line_begin)
                   : text;
    }

    // trim_blocks: one line end behind a block goes; with "-%}" all blanks.
    void skip_after_block(Sign sign) {
        if (sign == Sign::strip)
            skip_blanks();
        else if (sign == Sign::none && rest_.starts_with('\n'))
            advance(1);
    }

    void skip_comment() {
        const std::size_t end = rest_.find("#}");
        if (end == rest_.npos) fail_here("Missing end of comment tag");
        const Sign sign = sign_before(end);
        advance(end + 2);
        skip_after_block(sign);
    }

    // The sign in "-%}", whose '%' stands at `end`.
    Sign sign_before(std::size_t end) const {
        const char c = end > 0 ? rest_[end - 1] : '\0';
        return c == '-' || c == '+' ? static_cast<Sign>(c) : Sign::none;
    }

    // Takes "raw %}" behind a "{%".
    bool take_raw_begin() {
        std::string_view ahead = strip(rest_, Side::left);
        if (!ahead.starts_with("raw")) return false;
        ahead = strip(ahead.substr(3), Side::left);
        const bool strips = ahead.starts_with("-%}");
        if (!strips && !ahead.starts_with("%}")) return false;
        advance(rest_.size() - ahead.size() + (strips ? 3 : 2));
        if (strips) skip_blanks();  // without the sign, a line end stays: raw is raw
        return true;
    }

    void read_raw() {
        const int text_line = line_;
        for (std::size_t at = rest_.find("{%"); at != rest_.npos; at = rest_.find("{%", at + 1)) {
            const std::string_view text = rest_.substr(0, at);
            std::string_view tag = rest_.substr(at + 2);
            Sign begin_sign = Sign::none;
            if (tag.starts_with('-') || tag.starts_with('+')) {
                begin_sign = static_cast<Sign>(tag.front());
                tag.remove_prefix(1);
            }
            tag = strip(tag, Side::left);
            if (!tag.starts_with("endraw")) continue;
            tag = strip(tag.substr(6), Side::left);
            Sign end_sign = Sign::none;
            if (tag.starts_with("-%}") || tag.starts_with("+%}"))
                end_sign = static_cast<Sign>(tag.front());
            else if (!tag.starts_with("%}"))
                continue;

            add_text(strip_before_block(text, begin_sign, at_line_begin_), text_line);
            advance(rest_.size() - tag.size() + (end_sign == Sign::none ? 2 : 3));
            return skip_after_block(end_sign);
        }
        fail_here("Missing end of raw directive");
    }

    void read_tag(char tag) {
        add(tag == '{' ? TokenKind::print_begin : TokenKind::block_begin, "");
        while (!take_tag_end(tag)) {
            skip_blanks();
            if (rest_.empty()) return;  // the parser knows what is missing
            if (!take_tag_end_is_next(tag)) read_token();
        }
    }

    bool take_tag_end_is_next(char tag) const { return brackets_.empty() && tag_end_size(tag) > 0; }

    // How long "}}", "-%}" and so on are, if such an end is next.
    std::size_t tag_end_size(char tag) const {
        const std::string_view end = tag == '{' ? "}}" : "%}";
        const bool has_sign = rest_.starts_with('-') || (tag == '%' && rest_.starts_with('+'));
        const std::string_view unsigned_rest = rest_.substr(has_sign ? 1 : 0);
        return unsigned_rest.starts_with(end) ? end.size() + (has_sign ? 1 : 0) : 0;
    }

    bool take_tag_end(char tag) {
        if (!take_tag_end_is_next(tag)) return false;
        const std::size_t size = tag_end_size(tag);
        add(tag == '{' ? TokenKind::print_end : TokenKind::block_end, "");
        const Sign sign = size == 3 ? static_cast<Sign>(rest_.front()) : Sign::none;
        advance(size);
        if (tag == '%')
            skip_after_block(sign);
        else if (sign == Sign::strip)
            skip_blanks();
        return true;
    }

    void read_token() {
        const char c = rest_.front();
        if (is_ascii_digit(c)) return read_number();
        if (c == '"' || c == '\'') return read_string();
        std::string_view ahead = rest_;
        if (is_name_start(take_code_point(ahead))) return read_name();
        read_symbol();
    }

    void read_name() {
        std::string_view ahead = rest_;
        std::size_t size = 0;
        while (!ahead.empty() && is_name_part(take_code_point(ahead))) size = rest_.size() - ahead.size();
        take_token(TokenKind::name, size);
    }

    void read_symbol() {
        static constexpr std::array<std::string_view, 6> kPairs = {"//", "**", "==", "!=", ">=", "<="};
        static constexpr std::string_view kSingles = "+-/*%~[](){}><=.:|,;";
        for (const std::string_view pair : kPairs)
            if (rest_.starts_with(pair)) return take_token(TokenKind::symbol, 2);
        const char c = rest_.front();
        if (kSingles.find(c) == kSingles.npos) {
            std::string_view ahead = rest_;
            fail_here(fmt::format("unexpected char '{}'", take_char(ahead)));
        }
        balance(c);
        take_token(TokenKind::symbol, 1);
    }

    // Within brackets, "}}" closes two of them and no tag.
    void balance(char c) {
        if (c == '(') brackets_ += ')';
        if (c == '[') brackets_ += ']';
        if (c == '{') brackets_ += '}';
        if (c != ')' && c != ']' && c != '}') return;
        if (brackets_.empty()) fail_here(fmt::format("unexpected '{}'", c));
        if (brackets_.back() != c)
            fail_here(fmt::format("unexpected '{}', expected '{}'", c, brackets_.back()));
        brackets_.pop_back();
    }

    // Digits with single underscores between; how many bytes from `at` on.
    std::size_t digits_size(std::size_t at, int base) const {
        std::size_t size = 0;
        const auto is_digit_at = [&](std::size_t i) {
            if (i >= rest_.size()) return false;
            const char c = static_cast<char>(rest_[i] | 0x20);  // '0'…'9' have that bit set
            if (is_ascii_digit(rest_[i])) return rest_[i] < '0' + base;
            return base == 16 && c >= 'a' && c <= 'f';
        };
        while (is_digit_at(at + size) || (size > 0 && at + size < rest_.size() && rest_[at + size] == '_' &&
                                          is_digit_at(at + size + 1)))
            ++size;
        return size;
    }

    void read_number() {
        const char prefix = rest_.size() > 1 ? static_cast<char>(rest_[1] | 0x20) : '\0';
        const int base = rest_.front() != '0' ? 10
                         : prefix == 'x'      ? 16
                         : prefix == 'o'      ? 8
                         : prefix == 'b'      ? 2
                                              : 10;
        if (base != 10) return read_prefixed_integer(base);

        std::size_t size = digits_size(0, 10);
        bool is_real = false;
        const bool is_index = !tokens_.empty() && tokens_.back().text == ".";  // of x.0.1
        if (!is_index && size < rest_.size() && rest_[size] == '.' && digits_size(size + 1, 10) > 0) {
            is_real = true;
            size += 1 + digits_size(size + 1, 10);
        }
        if (!is_index && size < rest_.size() && (rest_[size] | 0x20) == 'e') {
            const bool has_sign =
                size + 1 < rest_.size() && (rest_[size + 1] == '-' || rest_[size + 1] == '+');
            const std::size_t begin = size + (has_sign ? 2 : 1);
            if (const std::size_t n = digits_size(begin, 10); n > 0) {
                is_real = true;
                size = begin + n;
            }
        }
        std::string digits(rest_.substr(0, size));
        std::erase(digits, '_');
        const bool is_octal_of_old =
            !is_real && digits.starts_with('0') && digits.find_first_not_of('0') != digits.npos;
        if (is_octal_of_old) fail_here(fmt::format("an integer must not begin with 0: {}", digits));
        add(is_real ? TokenKind::real : TokenKind::integer, std::move(digits));
        advance(size);
    }

    void read_prefixed_integer(int base) {
        const bool has_underscore = rest_.size() > 2 && rest_[2] == '_';
        const std::size_t begin = has_underscore ? 3 : 2;
        const std::size_t size = digits_size(begin, base);
        std::string digits(rest_.substr(begin, size));
        std::erase(digits, '_');
        std::int64_t value = 0;
        const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
        if (digits.empty()) fail_here("an integer lacks its digits");
        if (parsed.ec != std::errc{}) fail_here("an integer with a prefix is beyond 64 bits");
        add(TokenKind::integer, std::to_string(value));
        advance(begin + size);
    }

    void read_string() {
        const char quote = rest_.front();
        std::size_t size = 1;
        while (size < rest_.size() && rest_[size] != quote) size += rest_[size] == '\\' ? 2 : 1;
        if (size >= rest_.size()) fail_here(fmt::format("unexpected char '{}'", quote));
        add(TokenKind::string, unescape(rest_.substr(1, size - 1)));
        advance(size + 1);
    }

    std::string unescape(std::string_view text) const {
        std::string out;
        while (!text.empty()) {
            const std::size_t plain = std::min(text.find('\\'), text.size());
            out += text.substr(0, plain);
            text.remove_prefix(plain);
            if (!text.empty()) unescape_one(out, text);
        }
        return out;
    }

    // Python's escapes; a backslash before anything else stays.
    void unescape_one(std::string& out, std::string_view& text) const {
        static constexpr std::string_view kNames = "\\'\"abfnrtv";
        static constexpr std::string_view kMeanings = "\\'\"\a\b\f\n\r\t\v";
        text.remove_prefix(1);
        const char c = text.front();
        text.remove_prefix(1);
        if (const std::size_t named = kNames.find(c); named != kNames.npos) {
            out += kMeanings[named];
        } else if (c == 'x' || c == 'u' || c == 'U') {
            append_code(out, take_code(text, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16));
        } else if (c >= '0' && c <= '7') {
            text = std::string_view(text.data() - 1, text.size() + 1);
            const std::size_t n = std::min(text.find_first_not_of("01234567"), text.size());
            append_code(out, take_code(text, std::min<std::size_t>(n, 3), 8));
        } else if (c == 'N') {
            fail_here("characters by their names, \\N{...}, are not supported", ErrorKind::unsupported);
        } else if (c != '\n') {
            out += '\\';
            out += c;
        }
    }

    std::uint32_t take_code(std::string_view& text, std::size_t n_digits, int base) const {
        std::uint32_t code = 0;
        const std::string_view digits = text.substr(0, n_digits);
        const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), code, base);
        if (digits.size() != n_digits || parsed.ptr != digits.data() + n_digits || code > 0x10FFFF)
            fail_here("a string has a truncated or impossible escape");
        text.remove_prefix(n_digits);
        return code;
    }

    static void append_code(std::string& out, std::uint32_t code) {
        if (code >= 0xD800 && code < 0xE000)
            out += kReplacementCharacter;
        else
            append_utf8(out, static_cast<char32_t>(code));
    }

    void skip_blanks() { advance(rest_.size() - strip(rest_, Side::left).size()); }

    void advance(std::size_t n_bytes) {
        const std::string_view passed = rest_.substr(0, n_bytes);
        line_ += static_cast<int>(std::count(passed.begin(), passed.end(), '\n'));
        if (!passed.empty()) at_line_begin_ = passed.back() == '\n';
        rest_.remove_prefix(n_bytes);
    }

    void take_token(TokenKind kind, std::size_t size) {
        add(kind, std::string(rest_.substr(0, size)));
        advance(size);
    }

    void add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

    void add_text(std::string_view text, int line) {
        if (!text.empty()) tokens_.push_back({TokenKind::text, std::string(text), line});
    }

    [[noreturn]] void fail_here(std::string_view message, ErrorKind kind = ErrorKind::bad_input) const {
        fail(kind, "{}:{}: {}", name_, line_, message);
    }

    std::string source_;
    std::string_view name_;
    std::string_view rest_;
    int line_ = 1;
    bool at_line_begin_ = true;  // the last thing taken was a line end
    std::string brackets_;       // those that are open, as what closes them
    std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, std::string_view name) {
    return Lexer(source, name).run();
}

std::string describe(const Token& token) {
    switch (token.kind) {
        case TokenKind::text:
            return "template data";
        case TokenKind::print_begin:
            return "begin of print statement";
        case TokenKind::print_end:
            return "end of print statement";
        case TokenKind::block_begin:
            return "begin of statement block";
        case TokenKind::block_end:
            return "end of statement block";
        case TokenKind::end:
            return "end of template";
        default:
            return token.text;
    }
}

}  // namespace greenroom::text::jinja
