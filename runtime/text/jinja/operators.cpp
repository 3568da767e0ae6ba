#include "runtime/text/jinja/operators.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/code_points.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/format.h"
#include "runtime/text/jinja/iterator.h"
#include "runtime/text/jinja/repr.h"

#include <algorithm>
#include <compare>
#include <optional>

namespace greenroom::text::jinja {
namespace {

std::string_view symbol(Comparison comparison) noexcept {
    switch (comparison) {
        case Comparison::equal:
            return "==";
        case Comparison::not_equal:
            return "!=";
        case Comparison::less:
            return "<";
        case Comparison::less_equal:
            return "<=";
        case Comparison::greater:
            return ">";
        case Comparison::greater_equal:
            return ">=";
        case Comparison::in:
            return "in";
        case Comparison::not_in:
            return "not in";
    }
    return "?";
}

bool is_kind(const Value& value, SequenceKind kind) noexcept {
    const Sequence* sequence = value.get<Sequence>();
    return sequence != nullptr && sequence->kind == kind;
}

bool equal_texts(Budget& budget, const String& a, const String& b) {
    if (a.bytes.size() != b.bytes.size()) return false;
    budget.work(a.bytes.size());
    return a.bytes == b.bytes;
}

bool equal_items(Budget& budget, const Values& a, const Values& b) {
    return a.size() == b.size() &&
           std::equal(a.begin(), a.end(), b.begin(),
                      [&](const Value& x, const Value& y) { return equal(budget, x, y); });
}

bool equal_dicts(Budget& budget, const Dict& a, const Dict& b) {
    if (a.size() != b.size()) return false;
    return std::all_of(a.entries().begin(), a.entries().end(), [&](const Dict::Entry& entry) {
        const Value* other = b.find(entry.key);
        return other != nullptr && equal(budget, entry.value, *other);
    });
}

bool satisfies(Comparison comparison, std::partial_ordering order) noexcept {
    switch (comparison) {
        case Comparison::less:
            return std::is_lt(order);
        case Comparison::less_equal:
            return std::is_lteq(order);
        case Comparison::greater:
            return std::is_gt(order);
        default:
            return std::is_gteq(order);
    }
}

bool compare_order(Budget& budget, Comparison comparison, const Value& a, const Value& b) {
    if (is_number(a) && is_number(b)) return satisfies(comparison, compare_numbers(a, b));
    const String* a_string = a.get<String>();
    const String* b_string = b.get<String>();
    if (a_string != nullptr && b_string != nullptr) {
        budget.work(std::min(a_string->bytes.size(), b_string->bytes.size()));
        // UTF-8 sorts as its code points do.
        return satisfies(comparison, a_string->bytes <=> b_string->bytes);
    }
    for (const SequenceKind kind : {SequenceKind::list, SequenceKind::tuple}) {
        if (!is_kind(a, kind) || !is_kind(b, kind)) continue;
        const Values& left = a.get<Sequence>()->items;
        const Values& right = b.get<Sequence>()->items;
        for (std::size_t i = 0; i < std::min(left.size(), right.size()); ++i)
            if (!equal(budget, left[i], right[i]))
                return compare_order(budget, comparison, left[i], right[i]);
        return satisfies(comparison, left.size() <=> right.size());
    }
    expect_defined(a);
    expect_defined(b);
    fail(ErrorKind::bad_input, "'{}' not supported between instances of '{}' and '{}'", symbol(comparison),
         type_name(a), type_name(b));
}

bool contains(Budget& budget, const Value& container, const Value& item) {
    if (container.is_undefined()) return false;
    if (const String* text = container.get<String>()) {
        const String* part = item.get<String>();
        if (part == nullptr) {
            fail(ErrorKind::bad_input, "'in <string>' requires string as left operand, not {}",
                 type_name(item));
        }
        pay_for_search(budget, text->bytes, part->bytes);
        return find_text(text->bytes, part->bytes) != std::string::npos;
    }
    if (const Dict* dict = container.get<Dict>()) {
        expect_hashable(item);
        return dict->find(item) != nullptr;
    }
    const auto equals_item = [&](const Value& other) { return equal(budget, other, item); };
    if (const Sequence* sequence = container.get<Sequence>())
        return std::any_of(sequence->items.begin(), sequence->items.end(), equals_item);
    if (Generator* generator = container.get<Generator>()) {
        while (generator->next < generator->items.size())
            if (equals_item(generator->items[generator->next++])) return true;
        return false;
    }
    fail(ErrorKind::bad_input, "argument of type '{}' is not iterable", type_name(container));
}

Value add_strings(Rendering& rendering, const Value& a, const Value& b) {
    const String& left = *a.get<String>();
    const String& right = *b.get<String>();
    TextBuilder sum(rendering.budget());
    if (left.is_markup || right.is_markup) {
        sum.append(escape_markup(rendering.budget(), a));
        sum.append(escape_markup(rendering.budget(), b));
        return make_markup(std::move(sum).take(), &rendering.budget());
    }
    sum.append(left.bytes);
    sum.append(right.bytes);
    return rendering.string(std::move(sum).take());
}

Value add_sequences(Rendering& rendering, const Sequence& a, const Sequence& b) {
    rendering.budget().work((a.items.size() + b.items.size()) * sizeof(Value));
    Values sum = a.items;
    sum.insert(sum.end(), b.items.begin(), b.items.end());
    return make_sequence(a.kind, std::move(sum), &rendering.budget());
}

std::optional<Value> repeat(Rendering& rendering, const Value& repeated, const Value& times) {
    const auto n = as_integer(times);
    if (!n) return std::nullopt;
    Budget& budget = rendering.budget();
    if (const String* string = repeated.get<String>()) {
        TextBuilder text(budget);
        text.append(*n, string->bytes);
        return make_string_like(*string, std::move(text).take(), &budget);
    }
    if (!is_kind(repeated, SequenceKind::list) && !is_kind(repeated, SequenceKind::tuple))
        return std::nullopt;
    const Sequence& sequence = *repeated.get<Sequence>();
    Values items;
    if (!sequence.items.empty() && *n > 0) {
        budget.check_text_size(*n, sequence.items.size() * sizeof(Value));
        budget.step(*n * static_cast<std::int64_t>(sequence.items.size()));
        for (std::int64_t i = 0; i < *n; ++i)
            items.insert(items.end(), sequence.items.begin(), sequence.items.end());
    }
    return make_sequence(sequence.kind, std::move(items), &budget);
}

[[noreturn]] void fail_operands(Arithmetic operation, const Value& a, const Value& b) {
    expect_defined(a);
    expect_defined(b);
    if (operation == Arithmetic::add && (a.is_string() || is_kind(a, SequenceKind::list))) {
        const std::string_view type = a.is_string() ? "str" : "list";
        fail(ErrorKind::bad_input, "can only concatenate {} (not \"{}\") to {}", type, type_name(b), type);
    }
    fail(ErrorKind::bad_input, "unsupported operand type(s) for {}: '{}' and '{}'", symbol(operation),
         type_name(a), type_name(b));
}

}  // namespace

bool equal(Budget& budget, const Value& a, const Value& b) {
    budget.step();
    if (is_number(a) && is_number(b)) return std::is_eq(compare_numbers(a, b));
    if (const String* string = a.get<String>()) {
        const String* other = b.get<String>();
        return other != nullptr && equal_texts(budget, *string, *other);
    }
    if (const Sequence* sequence = a.get<Sequence>()) {
        const Sequence* other = b.get<Sequence>();
        return other != nullptr && sequence->kind == other->kind &&
               equal_items(budget, sequence->items, other->items);
    }
    if (const Dict* dict = a.get<Dict>()) {
        const Dict* other = b.get<Dict>();
        return other != nullptr && equal_dicts(budget, *dict, *other);
    }
    return a.is_same(b);
}

bool compare(Budget& budget, Comparison comparison, const Value& a, const Value& b) {
    switch (comparison) {
        case Comparison::equal:
            return equal(budget, a, b);
        case Comparison::not_equal:
            return !equal(budget, a, b);
        case Comparison::in:
            return contains(budget, b, a);
        case Comparison::not_in:
            return !contains(budget, b, a);
        default:
            return compare_order(budget, comparison, a, b);
    }
}

Value apply(Rendering& rendering, Arithmetic operation, const Value& a, const Value& b) {
    if (operation == Arithmetic::modulo && a.is_string())
        return format_percent(rendering, *a.get<String>(), b);
    if (is_number(a) && is_number(b)) return compute(operation, a, b);
    if (operation == Arithmetic::add) {
        if (a.is_string() && b.is_string()) return add_strings(rendering, a, b);
        for (const SequenceKind kind : {SequenceKind::list, SequenceKind::tuple})
            if (is_kind(a, kind) && is_kind(b, kind))
                return add_sequences(rendering, *a.get<Sequence>(), *b.get<Sequence>());
    }
    if (operation == Arithmetic::multiply) {
        if (auto product = repeat(rendering, a, b)) return *product;
        if (auto product = repeat(rendering, b, a)) return *product;
    }
    fail_operands(operation, a, b);
}

Value apply_minus(Rendering& rendering, const Value& a) {
    expect_defined(a);
    if (!is_number(a)) fail(ErrorKind::bad_input, "bad operand type for unary -: '{}'", type_name(a));
    return negate(a, &rendering.budget());
}

Value apply_plus(const Value& a) {
    expect_defined(a);
    if (!is_number(a)) fail(ErrorKind::bad_input, "bad operand type for unary +: '{}'", type_name(a));
    const bool* flag = a.get<bool>();
    return flag == nullptr ? a : Value::integer(*flag ? 1 : 0);
}

std::string escape_markup(Budget& budget, const Value& value) {
    const String* string = value.get<String>();
    if (string != nullptr && string->is_markup) return string->bytes;
    TextBuilder out(budget);
    for (const char c : to_text(budget, value)) {
        switch (c) {
            case '&':
                out.append("&amp;");
                break;
            case '<':
                out.append("&lt;");
                break;
            case '>':
                out.append("&gt;");
                break;
            case '\'':
                out.append("&#39;");
                break;
            case '"':
                out.append("&#34;");
                break;
            default:
                out.append({&c, 1});
                break;
        }
    }
    return std::move(out).take();
}

}  // namespace greenroom::text::jinja
