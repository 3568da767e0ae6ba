// Methods of str that ask a question about a string.

#include "quant/base/error.h"
#include "runtime/text/jinja/case_mapping.h"
#include "runtime/text/jinja/code_points.h"
#include "runtime/text/jinja/methods.h"
#include "runtime/text/jinja/numbers.h"

#include <algorithm>
#include <array>

namespace greenroom::text::jinja {
namespace {

constexpr std::size_t kNowhere = std::string_view::npos;

// The part of the text that start and end, the parameters from `first` on, leave to be searched.
struct Window {
    std::string_view text;
    std::size_t offset = 0;        // bytes before it
    bool is_empty_beyond = false;  // start lies beyond the end: not even "" is found
};

Window window(Call& call, std::size_t first) {
    const String& self = call.self_string();
    call.budget().work(self.bytes.size());
    const auto bound = [&](std::size_t parameter, std::int64_t otherwise) {
        const std::int64_t at =
            call.find_given(parameter) == nullptr ? otherwise : call.integer(parameter, 0);
        return at < 0 ? std::max<std::int64_t>(at + self.n_chars, 0) : at;
    };
    const std::int64_t start = bound(first, 0);
    const std::int64_t end = std::min(bound(first + 1, self.n_chars), self.n_chars);
    if (start > end) return {{}, 0, true};
    const std::size_t begin_byte = byte_offset(self, start);
    const std::size_t end_byte = byte_offset(self, end);
    return {std::string_view(self.bytes).substr(begin_byte, end_byte - begin_byte), begin_byte, false};
}

enum class Direction { left_to_right, right_to_left };
enum class IfMissing { minus_one, error };

template <Direction direction, IfMissing if_missing>
Value find(Call& call) {
    const Window searched = window(call, 1);
    const std::string_view part = call.text(0);
    pay_for_search(call.budget(), searched.text, part);
    std::size_t at = kNowhere;
    if (!searched.is_empty_beyond)
        at = direction == Direction::left_to_right ? find_text(searched.text, part)
                                                   : find_last_text(searched.text, part);
    if (at != kNowhere) return Value::integer(code_point_index(call.self_string(), searched.offset + at));
    if (if_missing == IfMissing::error) fail(ErrorKind::bad_input, "{}(): substring not found", call.name());
    return Value::integer(-1);
}

Value count(Call& call) {
    const Window searched = window(call, 1);
    const std::string_view part = call.text(0);
    pay_for_search(call.budget(), searched.text, part);
    if (searched.is_empty_beyond) return Value::integer(0);
    if (part.empty()) return Value::integer(count_code_points(searched.text) + 1);
    std::int64_t n = 0;
    for (std::size_t at = find_text(searched.text, part); at != kNowhere;
         at = find_text(searched.text, part, at + part.size()))
        ++n;
    return Value::integer(n);
}

// startswith() and endswith(): one affix, or a tuple of them.
template <bool (*fits)(std::string_view text, std::string_view affix)>
Value has_affix(Call& call) {
    const Window searched = window(call, 1);
    const auto has = [&](const Value& affix) {
        if (!affix.is_string()) {
            fail(ErrorKind::bad_input, "{}() wants str or a tuple of str, not {}", call.name(),
                 type_name(affix));
        }
        return !searched.is_empty_beyond && fits(searched.text, affix.get<String>()->bytes);
    };
    const Sequence* affixes = call.get(0).get<Sequence>();
    if (affixes == nullptr || affixes->kind != SequenceKind::tuple) return Value::boolean(has(call.get(0)));
    return Value::boolean(std::any_of(affixes->items.begin(), affixes->items.end(), has));
}

bool begins_with(std::string_view text, std::string_view affix) { return text.starts_with(affix); }
bool finishes_with(std::string_view text, std::string_view affix) { return text.ends_with(affix); }

bool is_alphanumeric(char32_t c) noexcept {
    return is_alpha(c) || is_decimal(c) || is_digit(c) || is_numeric(c);
}

template <bool (*is_one)(char32_t)>
bool are_all(std::string_view text) {
    while (!text.empty())
        if (!is_one(take_code_point(text))) return false;
    return true;
}

bool is_ascii(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool is_name(std::string_view text) {
    return !text.empty() && is_name_start(take_code_point(text)) && are_all<is_name_part>(text);
}

enum class WhenEmpty { yes, no };

template <bool (*test)(std::string_view), WhenEmpty when_empty = WhenEmpty::no>
Value is_kind(Call& call) {
    const std::string_view text = call.self_string().bytes;
    call.budget().work(8 * text.size());
    return Value::boolean(text.empty() ? when_empty == WhenEmpty::yes : test(text));
}

}  // namespace

std::span<const Builtin> string_search_methods() noexcept {
    using enum Direction;
    using enum IfMissing;
    static constexpr std::array<Builtin, 19> kMethods = {{
        {"count", "sub start? end?", count},
        {"endswith", "suffix start? end?", has_affix<finishes_with>},
        {"find", "sub start? end?", find<left_to_right, minus_one>},
        {"index", "sub start? end?", find<left_to_right, error>},
        {"isalnum", "", is_kind<are_all<is_alphanumeric>>},
        {"isalpha", "", is_kind<are_all<is_alpha>>},
        {"isascii", "", is_kind<is_ascii, WhenEmpty::yes>},
        {"isdecimal", "", is_kind<are_all<is_decimal>>},
        {"isdigit", "", is_kind<are_all<is_digit>>},
        {"isidentifier", "", is_kind<is_name>},
        {"islower", "", is_kind<is_all_lower>},
        {"isnumeric", "", is_kind<are_all<is_numeric>>},
        {"isprintable", "", is_kind<are_all<is_printable>, WhenEmpty::yes>},
        {"isspace", "", is_kind<are_all<is_space>>},
        {"istitle", "", is_kind<is_title_cased>},
        {"isupper", "", is_kind<is_all_upper>},
        {"rfind", "sub start? end?", find<right_to_left, minus_one>},
        {"rindex", "sub start? end?", find<right_to_left, error>},
        {"startswith", "prefix start? end?", has_affix<begins_with>},
    }};
    return kMethods;
}

}  // namespace greenroom::text::jinja
