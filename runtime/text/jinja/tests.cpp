#include "runtime/text/jinja/tests.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/case_mapping.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/filters.h"
#include "runtime/text/jinja/iterator.h"
#include "runtime/text/jinja/loop.h"
#include "runtime/text/jinja/numbers.h"
#include "runtime/text/jinja/operators.h"

#include <array>

namespace greenroom::text::jinja {
namespace {

template <bool (*holds)(const Value&)>
Value test_value(Call& call) {
    return Value::boolean(holds(call.self()));
}

template <Comparison comparison>
Value test_comparison(Call& call) {
    return Value::boolean(compare(call.budget(), comparison, call.self(), call.get(0)));
}

bool is_boolean(const Value& value) { return value.get<bool>() != nullptr; }
bool is_true(const Value& value) { return is_boolean(value) && *value.get<bool>(); }
bool is_false(const Value& value) { return is_boolean(value) && !*value.get<bool>(); }
bool is_none(const Value& value) { return value.is_none(); }
bool is_defined(const Value& value) { return !value.is_undefined(); }
bool is_undefined(const Value& value) { return value.is_undefined(); }
bool is_string(const Value& value) { return value.is_string(); }
bool is_mapping(const Value& value) { return value.get<Dict>() != nullptr; }
bool is_float(const Value& value) { return value.get<double>() != nullptr; }
bool is_integer(const Value& value) { return is_number(value) && !is_boolean(value) && !is_float(value); }
bool test_iterable(const Value& value) { return is_iterable(value); }
bool test_number(const Value& value) { return is_number(value); }

bool is_callable(const Value& value) {
    // A loop can be called whether or not it recurses, and an undefined value is there to complain about it.
    return value.get<Callable>() != nullptr || value.get<Loop>() != nullptr || value.is_undefined();
}

// Has a length and is indexed; dicts are, by keys.
bool is_sequence(const Value& value) {
    const Sequence* sequence = value.get<Sequence>();
    return value.is_undefined() || value.is_string() || is_mapping(value) ||
           (sequence != nullptr && sequence->kind <= SequenceKind::range);
}

bool is_escaped(const Value& value) {
    const String* string = value.get<String>();
    return string != nullptr && string->is_markup;
}

std::int64_t rest_of_division(Call& call, const Value& divisor) {
    const Value rest = apply(call.rendering(), Arithmetic::modulo, call.self(), divisor);
    if (const double* real = rest.get<double>()) return *real == 0 ? 0 : *real == 1 ? 1 : 2;
    return as_integer(rest).value_or(2);
}

Value is_even(Call& call) { return Value::boolean(rest_of_division(call, Value::integer(2)) == 0); }
Value is_odd(Call& call) { return Value::boolean(rest_of_division(call, Value::integer(2)) == 1); }
Value is_divisible(Call& call) { return Value::boolean(rest_of_division(call, call.get(0)) == 0); }

template <bool (*is_cased)(std::string_view)>
Value test_case(Call& call) {
    const std::string text = call.self_text();
    call.budget().work(4 * text.size());
    return Value::boolean(is_cased(text));
}
bool is_upper(std::string_view text) { return is_all_upper(text); }
bool is_lower(std::string_view text) { return is_all_lower(text); }

Value is_same(Call& call) {
    if (call.self().is_string()) call.budget().work(call.self_string().bytes.size());
    return Value::boolean(call.self().is_same(call.get(0)));
}

Value is_filter(Call& call) {
    return Value::boolean(call.self().is_string() && find_filter(call.self_string().bytes) != nullptr);
}
Value is_test(Call& call) {
    return Value::boolean(call.self().is_string() && find_test(call.self_string().bytes) != nullptr);
}

constexpr auto kEqual = test_comparison<Comparison::equal>;
constexpr auto kNotEqual = test_comparison<Comparison::not_equal>;
constexpr auto kLess = test_comparison<Comparison::less>;
constexpr auto kLessEqual = test_comparison<Comparison::less_equal>;
constexpr auto kGreater = test_comparison<Comparison::greater>;
constexpr auto kGreaterEqual = test_comparison<Comparison::greater_equal>;

constexpr std::array<Builtin, 39> kTests = {{
    {"!=", "other", kNotEqual},
    {"<", "other", kLess},
    {"<=", "other", kLessEqual},
    {"==", "other", kEqual},
    {">", "other", kGreater},
    {">=", "other", kGreaterEqual},
    {"boolean", "", test_value<is_boolean>},
    {"callable", "", test_value<is_callable>},
    {"defined", "", test_value<is_defined>},
    {"divisibleby", "num", is_divisible},
    {"eq", "other", kEqual},
    {"equalto", "other", kEqual},
    {"escaped", "", test_value<is_escaped>},
    {"even", "", is_even},
    {"false", "", test_value<is_false>},
    {"filter", "", is_filter},
    {"float", "", test_value<is_float>},
    {"ge", "other", kGreaterEqual},
    {"greaterthan", "other", kGreater},
    {"gt", "other", kGreater},
    {"in", "seq", test_comparison<Comparison::in>},
    {"integer", "", test_value<is_integer>},
    {"iterable", "", test_value<test_iterable>},
    {"le", "other", kLessEqual},
    {"lessthan", "other", kLess},
    {"lower", "", test_case<is_lower>},
    {"lt", "other", kLess},
    {"mapping", "", test_value<is_mapping>},
    {"ne", "other", kNotEqual},
    {"none", "", test_value<is_none>},
    {"number", "", test_value<test_number>},
    {"odd", "", is_odd},
    {"sameas", "other", is_same},
    {"sequence", "", test_value<is_sequence>},
    {"string", "", test_value<is_string>},
    {"test", "", is_test},
    {"true", "", test_value<is_true>},
    {"undefined", "", test_value<is_undefined>},
    {"upper", "", test_case<is_upper>},
}};

}  // namespace

const Builtin* find_test(std::string_view name) noexcept { return find_builtin(kTests, name); }

const Builtin& require_test(std::string_view name) {
    const Builtin* test = find_test(name);
    if (test == nullptr) fail(ErrorKind::bad_input, "No test named '{}'.", name);
    return *test;
}

}  // namespace greenroom::text::jinja
