#include "runtime/text/jinja/access.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/call.h"
#include "runtime/text/jinja/code_points.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/loop.h"
#include "runtime/text/jinja/methods.h"
#include "runtime/text/jinja/numbers.h"
#include "runtime/text/jinja/repr.h"

#include <fmt/format.h>

#include <algorithm>
#include <compare>
#include <cstdlib>
#include <optional>

namespace greenroom::text::jinja {
namespace {

// "list object", as jinja2 names it in messages.
std::string describe(const Value& object) {
    return object.is_none() ? "None" : fmt::format("{} object", type_name(object));
}

// What a message names. A key can be as long as a book, and there can be any number of messages.
std::string shortened(std::string_view text) {
    constexpr std::size_t kMaxBytes = 200;
    if (text.size() <= kMaxBytes) return std::string(text);
    std::string_view kept = text.substr(0, kMaxBytes);
    take_last_char(kept);  // which may have been cut
    return std::string(kept) + "…";
}

Value no_attribute(Rendering& rendering, const Value& object, std::string_view name) {
    return rendering.undefined(
        fmt::format("'{}' has no attribute {}", describe(object), quoted(shortened(name))));
}

Value no_element(Rendering& rendering, const Value& object, const Value& key) {
    if (const String* name = key.get<String>()) return no_attribute(rendering, object, name->bytes);
    TextBuilder text(rendering.budget());
    append_repr(text, key);
    return rendering.undefined(fmt::format("{} has no element {}", describe(object), shortened(text.text())));
}

Value unsafe_attribute(Rendering& rendering, const Value& object, std::string_view name) {
    return rendering.undefined(fmt::format("access to attribute {} of '{}' object is unsafe.",
                                           quoted(shortened(name)), type_name(object)));
}

// What comparing a name with a handful of others takes. The caller's dicts have no budget to count it.
void pay_for_name(Rendering& rendering, std::string_view name) {
    rendering.budget().step();
    rendering.budget().work(8 * name.size());
}

// What Python's getattr() finds.
std::optional<Value> find_attribute(Rendering& rendering, const Value& object, std::string_view name) {
    if (Namespace* space = object.get<Namespace>()) {
        const Value* attribute = space->attributes.find(name);
        return attribute == nullptr ? std::nullopt : std::optional(*attribute);
    }
    if (Loop* loop = object.get<Loop>())
        if (auto attribute = loop->attribute(name)) return attribute;
    if (is_mutating_method(object, name)) return unsafe_attribute(rendering, object, name);
    if (const Builtin* method = find_method(object, name))
        return make_function(*method, object, &rendering.budget());
    return std::nullopt;
}

std::optional<Value> find_item(Rendering& rendering, const Value& object, const Value& key) {
    if (const Dict* dict = object.get<Dict>()) {
        const Value* item = dict->find(key);
        return item == nullptr ? std::nullopt : std::optional(*item);
    }
    const auto index = as_integer(key);
    if (!index) return std::nullopt;
    const String* string = object.get<String>();
    const Sequence* sequence = object.get<Sequence>();
    const bool has_index = sequence != nullptr && sequence->kind <= SequenceKind::range;
    if (string == nullptr && !has_index) return std::nullopt;

    const auto n = string != nullptr ? string->n_chars : static_cast<std::int64_t>(sequence->items.size());
    const std::int64_t at = *index < 0 ? *index + n : *index;
    if (at < 0 || at >= n) return std::nullopt;
    if (sequence != nullptr) return sequence->items[static_cast<std::size_t>(at)];
    if (!string->is_ascii()) rendering.budget().work(string->bytes.size());
    std::string_view rest = std::string_view(string->bytes).substr(byte_offset(*string, at));
    return make_string_like(*string, std::string(take_char(rest)), &rendering.budget());
}

// The elements that a slice takes: `count` of them, from `start` on, `step` apart.
struct Range {
    std::int64_t start;
    std::int64_t step;
    std::int64_t count;
};

std::int64_t slice_bound(const Value& bound, std::int64_t otherwise, std::int64_t n, std::int64_t least,
                         std::int64_t most) {
    if (bound.is_none()) return otherwise;
    if (bound.get<BigInteger>() != nullptr)
        return std::is_lt(compare_numbers(bound, Value::integer(0))) ? least : most;
    const auto index = as_integer(bound);
    if (!index) fail(ErrorKind::bad_input, "slice indices must be integers or None");
    return std::clamp(*index < 0 ? *index + n : *index, least, most);
}

Range resolve_slice(std::int64_t n, const Value& start, const Value& stop, const Value& step) {
    // A step beyond all elements takes one of them; none of the sums below can overflow then.
    const std::int64_t by = slice_bound(step, 1, 0, -(n + 1), n + 1);
    if (by == 0) fail(ErrorKind::bad_input, "slice step cannot be zero");
    const bool forward = by > 0;
    const std::int64_t least = forward ? 0 : -1;
    const std::int64_t most = forward ? n : n - 1;
    const std::int64_t from = slice_bound(start, forward ? least : most, n, least, most);
    const std::int64_t to = slice_bound(stop, forward ? most : least, n, least, most);
    const std::int64_t distance = forward ? to - from : from - to;
    const std::int64_t count = distance <= 0 ? 0 : (distance - 1) / (forward ? by : -by) + 1;
    return {from, by, count};
}

// Takes n code points from the front, or from the end, and gives the last one taken.
std::string_view take_chars(std::string_view& text, std::int64_t n, bool from_front) {
    std::string_view taken;
    for (; n > 0 && !text.empty(); --n) taken = from_front ? take_char(text) : take_last_char(text);
    return taken;
}

Value slice_string(Rendering& rendering, const String& string, const Range& range) {
    rendering.budget().work(string.bytes.size());
    std::string_view rest = string.bytes;
    if (range.step == 1) {
        const std::size_t begin = byte_offset(string, range.start);
        const std::size_t end = byte_offset(string, range.start + range.count);
        return make_string_like(string, std::string(rest.substr(begin, range.count > 0 ? end - begin : 0)),
                                &rendering.budget());
    }
    rendering.budget().work(8 * rest.size());
    const bool forward = range.step > 0;
    if (range.count > 0) {
        if (forward)
            rest.remove_prefix(byte_offset(string, range.start));
        else
            rest = rest.substr(0, byte_offset(string, range.start + 1));
    }
    std::string part;
    for (std::int64_t i = 0; i < range.count; ++i)
        part += take_chars(rest, i == 0 ? 1 : std::abs(range.step), forward);
    return make_string_like(string, std::move(part), &rendering.budget());
}

}  // namespace

Value get_attribute(Rendering& rendering, const Value& object, std::string_view name) {
    expect_defined(object);
    pay_for_name(rendering, name);
    if (auto attribute = find_attribute(rendering, object, name)) return *attribute;
    if (const Dict* dict = object.get<Dict>())
        if (const Value* item = dict->find(name)) return *item;
    // All Python objects have such attributes, and the sandbox shows none of them.
    if (name.size() > 4 && name.starts_with("__") && name.ends_with("__"))
        return unsafe_attribute(rendering, object, name);
    return no_attribute(rendering, object, name);
}

Value get_item(Rendering& rendering, const Value& object, const Value& key) {
    expect_defined(object);
    pay_for_name(rendering, key.is_string() ? key.get<String>()->bytes : std::string_view());
    if (auto item = find_item(rendering, object, key)) return *item;
    if (const String* name = key.get<String>())
        if (auto attribute = find_attribute(rendering, object, name->bytes)) return *attribute;
    return no_element(rendering, object, key);
}

Value get_slice(Rendering& rendering, const Value& object, const Value& start, const Value& stop,
                const Value& step) {
    expect_defined(object);
    const String* string = object.get<String>();
    const Sequence* sequence = object.get<Sequence>();
    const bool has_order =
        string != nullptr || (sequence != nullptr && sequence->kind <= SequenceKind::range);
    if (!has_order) fail(ErrorKind::bad_input, "'{}' object cannot be sliced", type_name(object));
    const auto n = string != nullptr ? string->n_chars : static_cast<std::int64_t>(sequence->items.size());
    const Range range = resolve_slice(n, start, stop, step);
    if (string != nullptr) return slice_string(rendering, *string, range);

    rendering.budget().step(range.count / 8);
    Values items;
    items.reserve(static_cast<std::size_t>(range.count));
    for (std::int64_t i = 0; i < range.count; ++i)
        items.push_back(sequence->items[static_cast<std::size_t>(range.start + i * range.step)]);
    return make_sequence(sequence->kind, std::move(items), &rendering.budget());
}

Value get_path(Rendering& rendering, Value object, std::string_view path) {
    for (bool is_last = false; !is_last;) {
        const std::string_view part = path.substr(0, path.find('.'));
        is_last = part.size() == path.size();
        path.remove_prefix(is_last ? path.size() : part.size() + 1);
        const bool is_index = !part.empty() && std::all_of(part.begin(), part.end(), is_ascii_digit);
        object =
            get_item(rendering, object, is_index ? parse_integer(part) : rendering.string(std::string(part)));
    }
    return object;
}

}  // namespace greenroom::text::jinja
