#include "quant/base/error.h"
#include "runtime/text/jinja/code_points.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/json.h"
#include "runtime/text/jinja/numbers.h"
#include "runtime/text/utf8.h"

#include <charconv>
#include <limits>

namespace greenroom::text::jinja {
namespace {

class JsonReader {
  public:
    JsonReader(std::string_view text, Budget* budget) : text_(text), budget_(budget) {}

    Value read() {
        if (!is_utf8(text_)) fail(ErrorKind::bad_input, "JSON: the text is not UTF-8");
        if (budget_ != nullptr) budget_->work(text_.size());
        skip_blanks();
        Value value = read_value();
        skip_blanks();
        if (at_ != text_.size()) fail_here("the end of the text");
        return value;
    }

  private:
    Value read_value() {
        if (budget_ != nullptr) budget_->step();
        switch (peek()) {
            case '{':
                return read_object();
            case '[':
                return read_array();
            case '"':
                return make_string(read_string(), budget_);
            default:
                break;
        }
        if (take("null")) return Value::none();
        if (take("true")) return Value::boolean(true);
        if (take("false")) return Value::boolean(false);
        if (take("NaN")) return Value::real(std::numeric_limits<double>::quiet_NaN());
        if (take("Infinity")) return Value::real(std::numeric_limits<double>::infinity());
        if (take("-Infinity")) return Value::real(-std::numeric_limits<double>::infinity());
        return read_number();
    }

    Value read_object() {
        enter();
        Dict dict(budget_);
        if (!take_after_blanks('}')) {
            do {
                skip_blanks();
                if (peek() != '"') fail_here("a key in double quotes");
                std::string key = read_string();
                if (!take_after_blanks(':')) fail_here("':'");
                skip_blanks();
                dict.set(make_string(std::move(key), budget_), read_value());
            } while (take_after_blanks(','));
            if (!take_after_blanks('}')) fail_here("',' or '}'");
        }
        --depth_;
        return make_dict(std::move(dict));
    }

    Value read_array() {
        enter();
        Values items;
        if (!take_after_blanks(']')) {
            do {
                skip_blanks();
                items.push_back(read_value());
            } while (take_after_blanks(','));
            if (!take_after_blanks(']')) fail_here("',' or ']'");
        }
        --depth_;
        return make_sequence(SequenceKind::list, std::move(items), budget_);
    }

    // Takes the bracket. The depth is checked here, before the value exists, to keep this recursion short.
    void enter() {
        ++at_;
        depth_ = nesting_around(depth_);
    }

    Value read_number() {
        const std::size_t begin = at_;
        take('-');
        if (!take('0')) take_digits();
        const std::size_t integer_end = at_;
        if (take('.')) take_digits();
        if (take('e') || take('E')) {
            if (!take('+')) take('-');
            take_digits();
        }
        const std::string_view digits = text_.substr(begin, at_ - begin);
        if (at_ == integer_end) return parse_integer(digits, budget_);
        return Value::real(parse_real(digits).value_or(0));
    }

    void take_digits() {
        if (!is_ascii_digit(peek())) fail_here("a value");
        while (is_ascii_digit(peek())) ++at_;
    }

    std::string read_string() {
        std::string out;
        for (++at_; peek() != '"'; ++at_) {
            if (static_cast<unsigned char>(peek()) < 0x20) fail_here("'\"' or a character of the string");
            if (peek() == '\\')
                read_escape(out);
            else
                out += peek();
        }
        ++at_;
        return out;
    }

    // Leaves at_ at the last character of the escape.
    void read_escape(std::string& out) {
        ++at_;
        static constexpr std::string_view kNames = "\"\\/bfnrt";
        static constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
        if (const std::size_t named = kNames.find(peek()); named != kNames.npos && at_ < text_.size()) {
            out += kMeanings[named];
            return;
        }
        if (peek() != 'u') fail_here("an escape that JSON has");
        const std::uint32_t first = read_hex();
        if (!is_surrogate(first)) return append_utf8(out, static_cast<char32_t>(first));

        const std::size_t after_first = at_;
        if (first < 0xDC00 && text_.substr(at_ + 1, 2) == "\\u") {
            at_ += 2;
            const std::uint32_t second = read_hex();
            if (second >= 0xDC00 && second < 0xE000) {
                const std::uint32_t code_point = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return append_utf8(out, static_cast<char32_t>(code_point));
            }
            at_ = after_first;
        }
        out += kReplacementCharacter;
    }

    std::uint32_t read_hex() {
        const std::string_view digits = text_.substr(at_ + 1, 4);
        std::uint32_t value = 0;
        const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
        if (digits.size() != 4 || parsed.ptr != digits.data() + 4) fail_here("four hexadecimal digits");
        at_ += 4;
        return value;
    }

    static bool is_surrogate(std::uint32_t code) noexcept { return code >= 0xD800 && code < 0xE000; }

    // '\0' at the end.
    char peek() const noexcept { return at_ < text_.size() ? text_[at_] : '\0'; }

    bool take(char c) noexcept {
        if (peek() != c) return false;
        ++at_;
        return true;
    }

    bool take(std::string_view word) noexcept {
        if (!text_.substr(at_).starts_with(word)) return false;
        at_ += word.size();
        return true;
    }

    bool take_after_blanks(char c) noexcept {
        skip_blanks();
        return take(c);
    }

    void skip_blanks() noexcept {
        while (peek() == ' ' || peek() == '\n' || peek() == '\r' || peek() == '\t') ++at_;
    }

    [[noreturn]] void fail_here(std::string_view expected) const {
        std::string_view rest = text_.substr(std::min(at_, text_.size()));
        fail(ErrorKind::bad_input, "JSON: byte {}: {} found; expected {}", at_,
             rest.empty() ? "the end" : fmt::format("'{}'", take_char(rest)), expected);
    }

    std::string_view text_;
    Budget* budget_;
    std::size_t at_ = 0;
    int depth_ = 0;
};

}  // namespace

Value parse_json(std::string_view text, Budget* budget) { return JsonReader(text, budget).read(); }

}  // namespace greenroom::text::jinja
