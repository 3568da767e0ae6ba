// Methods of str that make strings of a string.

#include "quant/base/error.h"
#include "runtime/text/jinja/case_mapping.h"
#include "runtime/text/jinja/code_points.h"
#include "runtime/text/jinja/format.h"
#include "runtime/text/jinja/iterator.h"
#include "runtime/text/jinja/methods.h"
#include "runtime/text/jinja/operators.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

namespace greenroom::text::jinja {
namespace {

constexpr std::int64_t kAll = std::numeric_limits<std::int64_t>::max();

Value like_self(Call& call, std::string_view bytes) {
    return make_string_like(call.self_string(), std::string(bytes), &call.budget());
}

// The object's text, paid for: it is about to be read character by character.
std::string_view scanned(Call& call) {
    const std::string_view text = call.self_string().bytes;
    call.budget().work(4 * text.size());
    return text;
}

// An argument that ends up in the result: markup escapes what is not.
std::string inserted_text(Call& call, std::size_t parameter, std::string_view otherwise) {
    const std::string_view text = call.text(parameter, otherwise);
    const Value* given = call.find(parameter);
    if (given == nullptr || !call.self_string().is_markup) return std::string(text);
    return escape_markup(call.budget(), *given);
}

// A count whose default, or any negative one, means all.
std::int64_t count_argument(Call& call, std::size_t parameter) {
    const std::int64_t n = call.integer(parameter, -1);
    return n < 0 ? kAll : n;
}

template <std::string (*map)(std::string_view)>
Value map_case(Call& call) {
    call.budget().work(4 * call.self_string().bytes.size());
    return like_self(call, map(scanned(call)));
}

template <Side side>
Value strip_sides(Call& call) {
    std::optional<std::string_view> chars;
    if (call.find_given(0) != nullptr) chars = call.text(0);
    call.budget().step(static_cast<std::int64_t>(chars.value_or("").size()));  // they get sorted
    return like_self(call, strip(scanned(call), side, chars));
}

Value replace(Call& call) {
    const std::string_view text = call.self_string().bytes;
    return make_string_like(
        call.self_string(),
        replace_text(call.budget(), text, call.text(0), inserted_text(call, 1, {}), count_argument(call, 2)),
        &call.budget());
}

// The words of a split, made strings as they are found: counted as they take memory.
class WordList {
  public:
    explicit WordList(Call& call) : call_(call) {}

    void add(std::string_view word) { words_.push_back(like_self(call_, word)); }
    void reverse() { std::reverse(words_.begin(), words_.end()); }
    Value take() && { return call_.rendering().list(std::move(words_)); }

  private:
    Call& call_;
    Values words_;
};

// Takes the word at the front of a text that begins with one.
std::string_view take_word(std::string_view& text) {
    std::string_view rest = text;
    std::size_t size = 0;
    while (!rest.empty() && !is_space(take_code_point(rest))) size = text.size() - rest.size();
    const std::string_view word = text.substr(0, size);
    text.remove_prefix(size);
    return word;
}

std::string_view take_last_word(std::string_view& text) {
    std::string_view rest = text;
    std::size_t begin = text.size();
    while (!rest.empty()) {
        std::string_view last = take_last_char(rest);
        if (is_space(take_code_point(last))) break;
        begin = rest.size();
    }
    const std::string_view word = text.substr(begin);
    text.remove_suffix(word.size());
    return word;
}

std::string_view separator_argument(Call& call) {
    const std::string_view separator = call.text(0);
    if (separator.empty()) fail(ErrorKind::bad_input, "{}(): the separator is empty", call.name());
    pay_for_search(call.budget(), call.self_string().bytes, separator);
    return separator;
}

Value split(Call& call) {
    std::string_view rest = scanned(call);
    WordList words(call);
    std::int64_t n_left = count_argument(call, 1);
    if (call.find_given(0) == nullptr) {
        for (; n_left > 0 && !(rest = strip(rest, Side::left)).empty(); --n_left) words.add(take_word(rest));
        rest = strip(rest, Side::left);
        if (!rest.empty()) words.add(rest);
        return std::move(words).take();
    }
    const std::string_view separator = separator_argument(call);
    for (; n_left > 0; --n_left) {
        const std::size_t at = find_text(rest, separator);
        if (at == rest.npos) break;
        words.add(rest.substr(0, at));
        rest.remove_prefix(at + separator.size());
    }
    words.add(rest);
    return std::move(words).take();
}

// Adds the words between separators, the last one first.
void add_words_from_right(WordList& words, std::string_view text, std::string_view separator,
                          std::int64_t n_splits) {
    // Mirrored, so that all of it is searched once.
    const std::string mirrored_text(text.rbegin(), text.rend());
    const std::string mirrored_separator(separator.rbegin(), separator.rend());
    std::size_t done = 0;  // bytes from the right
    for (; n_splits > 0; --n_splits) {
        const std::size_t at = find_text(mirrored_text, mirrored_separator, done);
        if (at == text.npos) break;
        words.add(text.substr(text.size() - at, at - done));
        done = at + separator.size();
    }
    words.add(text.substr(0, text.size() - done));
}

Value split_from_right(Call& call) {
    std::string_view rest = scanned(call);
    WordList words(call);
    std::int64_t n_left = count_argument(call, 1);
    if (call.find_given(0) == nullptr) {
        for (; n_left > 0 && !(rest = strip(rest, Side::right)).empty(); --n_left)
            words.add(take_last_word(rest));
        rest = strip(rest, Side::right);
        if (!rest.empty()) words.add(rest);
    } else {
        add_words_from_right(words, rest, separator_argument(call), n_left);
    }
    words.reverse();
    return std::move(words).take();
}

Value split_lines(Call& call) {
    const LineEnds ends = call.truth(0, false) ? LineEnds::keep : LineEnds::cut;
    WordList lines(call);
    for (std::string_view rest = scanned(call); !rest.empty();) lines.add(take_line(rest, ends));
    return std::move(lines).take();
}

Value partition_at(Call& call, std::size_t at, bool text_goes_last) {
    const std::string_view text = call.self_string().bytes;
    const Value whole = call.self();
    const Value nothing = like_self(call, "");
    if (at == text.npos) {
        return call.rendering().tuple(text_goes_last ? Values{nothing, nothing, whole}
                                                     : Values{whole, nothing, nothing});
    }
    const std::size_t size = call.text(0).size();
    return call.rendering().tuple({like_self(call, text.substr(0, at)),
                                   like_self(call, text.substr(at, size)),
                                   like_self(call, text.substr(at + size))});
}

Value partition(Call& call) {
    return partition_at(call, find_text(scanned(call), separator_argument(call)), false);
}

Value partition_from_right(Call& call) {
    return partition_at(call, find_last_text(scanned(call), separator_argument(call)), true);
}

Value join(Call& call) {
    TextBuilder text(call.budget());
    const String& self = call.self_string();
    std::string_view separator;
    for (const Value& item : to_items(call.rendering(), call.get(0))) {
        if (!item.is_string() && !self.is_markup)
            fail(ErrorKind::bad_input, "join(): an item is {}; expected str", type_name(item));
        text.append(separator);
        separator = self.bytes;
        if (self.is_markup)
            text.append(escape_markup(call.budget(), item));
        else
            text.append(item.get<String>()->bytes);
    }
    return make_string_like(self, std::move(text).take(), &call.budget());
}

enum class Align { left, center, right };

template <Align align>
Value pad(Call& call) {
    const std::string fill = inserted_text(call, 1, " ");
    if (call.find(1) != nullptr && count_code_points(call.text(1)) != 1)
        fail(ErrorKind::bad_input, "{}(): the fill character must be exactly one", call.name());
    const std::int64_t width = call.integer(0, 0);
    const std::int64_t n = std::max<std::int64_t>(width - call.self_string().n_chars, 0);
    const std::int64_t n_before = align == Align::left    ? 0
                                  : align == Align::right ? n
                                                          : n / 2 + (n & width & 1);  // as Python rounds
    TextBuilder text(call.budget());
    text.append(n_before, fill);
    text.append(call.self_string().bytes);
    text.append(n - n_before, fill);
    return make_string_like(call.self_string(), std::move(text).take(), &call.budget());
}

Value pad_with_zeros(Call& call) {
    std::string_view digits = call.self_string().bytes;
    TextBuilder text(call.budget());
    if (digits.starts_with('+') || digits.starts_with('-')) {
        text.append(digits.substr(0, 1));
        digits.remove_prefix(1);
    }
    if (const std::int64_t width = call.integer(0, 0); width > call.self_string().n_chars)
        text.append(width - call.self_string().n_chars, "0");
    text.append(digits);
    return make_string_like(call.self_string(), std::move(text).take(), &call.budget());
}

Value remove_prefix(Call& call) {
    std::string_view text = call.self_string().bytes;
    if (text.starts_with(call.text(0))) text.remove_prefix(call.text(0).size());
    return like_self(call, text);
}

Value remove_suffix(Call& call) {
    std::string_view text = call.self_string().bytes;
    if (text.ends_with(call.text(0))) text.remove_suffix(call.text(0).size());
    return like_self(call, text);
}

}  // namespace

std::span<const Builtin> string_methods() noexcept {
    static constexpr std::array<Builtin, 23> kMethods = {{
        {"capitalize", "", map_case<capitalize>},
        {"casefold", "", map_case<fold_case>},
        {"center", "width fillchar?", pad<Align::center>},
        {"format", "*",
         [](Call& call) { return format_braces(call.rendering(), call.self_string(), call.arguments()); }},
        {"join", "iterable", join},
        {"ljust", "width fillchar?", pad<Align::left>},
        {"lower", "", map_case<to_lower>},
        {"lstrip", "chars?", strip_sides<Side::left>},
        {"partition", "sep", partition},
        {"removeprefix", "prefix", remove_prefix},
        {"removesuffix", "suffix", remove_suffix},
        {"replace", "old new count?", replace},
        {"rjust", "width fillchar?", pad<Align::right>},
        {"rpartition", "sep", partition_from_right},
        {"rsplit", "sep? maxsplit?", split_from_right},
        {"rstrip", "chars?", strip_sides<Side::right>},
        {"split", "sep? maxsplit?", split},
        {"splitlines", "keepends?", split_lines},
        {"strip", "chars?", strip_sides<Side::both>},
        {"swapcase", "", map_case<swap_case>},
        {"title", "", map_case<to_title>},
        {"upper", "", map_case<to_upper>},
        {"zfill", "width", pad_with_zeros},
    }};
    return kMethods;
}

}  // namespace greenroom::text::jinja
