#include "runtime/text/output/json_scanner.h"

namespace greenroom::text {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_hex_digit(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

}  // namespace

std::size_t JsonScanner::push(std::string_view text) {
    std::size_t n_taken = 0;
    while (n_taken < text.size() && !complete() && !invalid())
        if (take(text[n_taken])) ++n_taken;
    return n_taken;
}

void JsonScanner::finish() noexcept {
    if (number_may_end()) end_value();
    if (!complete()) state_ = State::invalid;
}

bool JsonScanner::take(char c) {
    if (in_string()) {
        take_in_string(c);
        return true;
    }
    if (state_ >= State::minus && state_ <= State::exponent_digits) return take_in_number(c);
    if (state_ == State::literal) {
        if (c != literal_.front()) {
            state_ = State::invalid;
            return false;
        }
        literal_.remove_prefix(1);
        if (literal_.empty()) end_value();
        return true;
    }
    if (is_space(c)) return true;
    switch (state_) {
        case State::first_item:
            if (c == ']')
                close('[');
            else
                begin_value(c);
            break;
        case State::value:
            begin_value(c);
            break;
        case State::first_key:
        case State::key:
            if (c == '}' && state_ == State::first_key)
                close('{');
            else if (c == '"')
                state_ = State::string, string_is_key_ = true;
            else
                state_ = State::invalid;
            break;
        case State::colon:
            state_ = c == ':' ? State::value : State::invalid;
            break;
        case State::after_value:
            if (c == ',')
                state_ = open_.back() == '{' ? State::key : State::value;
            else if (c == '}' || c == ']')
                close(c == '}' ? '{' : '[');
            else
                state_ = State::invalid;
            break;
        default:
            state_ = State::invalid;
    }
    return state_ != State::invalid;
}

void JsonScanner::begin_value(char c) {
    switch (c) {
        case '{':
            return open(c, State::first_key);
        case '[':
            return open(c, State::first_item);
        case '"':
            state_ = State::string;
            string_is_key_ = false;
            return;
        case 't':
            literal_ = "rue";
            state_ = State::literal;
            return;
        case 'f':
            literal_ = "alse";
            state_ = State::literal;
            return;
        case 'n':
            literal_ = "ull";
            state_ = State::literal;
            return;
        case '-':
            state_ = State::minus;
            return;
        case '0':
            state_ = State::zero;
            return;
        default:
            state_ = is_digit(c) ? State::integer : State::invalid;
    }
}

void JsonScanner::take_in_string(char c) {
    if (state_ == State::escape) {
        n_hex_digits_ = c == 'u' ? 4 : 0;
        constexpr std::string_view kEscapes = "\"\\/bfnrt";
        if (c == 'u')
            state_ = State::hex_digits;
        else
            state_ = kEscapes.find(c) != std::string_view::npos ? State::string : State::invalid;
    } else if (state_ == State::hex_digits) {
        if (!is_hex_digit(c))
            state_ = State::invalid;
        else if (--n_hex_digits_ == 0)
            state_ = State::string;
    } else if (c == '\\') {
        state_ = State::escape;
    } else if (c == '"') {
        if (string_is_key_)
            state_ = State::colon;
        else
            end_value();
    } else if (static_cast<unsigned char>(c) < 0x20) {
        state_ = State::invalid;
    }
}

bool JsonScanner::take_in_number(char c) {
    const bool has_integer = state_ == State::zero || state_ == State::integer;
    const bool has_fraction = state_ == State::fraction;
    if (is_digit(c) && state_ != State::zero) {
        if (state_ == State::minus) state_ = c == '0' ? State::zero : State::integer;
        if (state_ == State::point) state_ = State::fraction;
        if (state_ == State::exponent || state_ == State::exponent_sign) state_ = State::exponent_digits;
    } else if (c == '.' && has_integer) {
        state_ = State::point;
    } else if ((c == 'e' || c == 'E') && (has_integer || has_fraction)) {
        state_ = State::exponent;
    } else if ((c == '+' || c == '-') && state_ == State::exponent) {
        state_ = State::exponent_sign;
    } else {
        if (number_may_end())
            end_value();
        else
            state_ = State::invalid;
        return false;
    }
    return true;
}

bool JsonScanner::number_may_end() const noexcept {
    return state_ == State::zero || state_ == State::integer || state_ == State::fraction ||
           state_ == State::exponent_digits;
}

void JsonScanner::open(char bracket, State next) {
    open_.push_back(bracket);
    state_ = open_.size() > kMostDepth ? State::invalid : next;
}

void JsonScanner::close(char bracket) {
    if (open_.back() != bracket) {
        state_ = State::invalid;
        return;
    }
    open_.pop_back();
    end_value();
}

void JsonScanner::end_value() noexcept { state_ = open_.empty() ? State::complete : State::after_value; }

}  // namespace greenroom::text
