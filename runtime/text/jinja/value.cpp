#include "runtime/text/jinja/value.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/call.h"
#include "runtime/text/jinja/code_points.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/numbers.h"

#include <algorithm>

namespace greenroom::text::jinja {
namespace {

// What an object costs beside its contents: the counters of shared_ptr and what the heap keeps for itself.
constexpr std::size_t kObjectBytes = 32;

Value make_string_object(std::string bytes, bool is_markup, Budget* budget) {
    const std::int64_t n_chars = count_code_points(bytes);
    if (budget != nullptr) budget->work(bytes.size());
    Share share(budget, sizeof(String) + kObjectBytes + bytes.size());
    return Value(
        std::make_shared<const String>(String{std::move(bytes), n_chars, is_markup, std::move(share)}));
}

Share share_of(const Values& items, Budget* budget) {
    if (budget != nullptr) budget->work(items.size() * sizeof(Value));
    return {budget, sizeof(Sequence) + kObjectBytes + items.size() * sizeof(Value)};
}

}  // namespace

Value Value::undefined(std::string message, Budget* budget) {
    if (budget != nullptr) budget->step(8);  // composing a message takes longer than most
    Share share(budget, sizeof(Undefined) + kObjectBytes + message.size());
    return Value(std::make_shared<const Undefined>(Undefined{std::move(message), std::move(share)}));
}

bool Value::truth() const noexcept {
    if (is_undefined() || is_none()) return false;
    if (const bool* flag = get<bool>()) return *flag;
    if (const auto* number = get<std::int64_t>()) return *number != 0;
    if (const double* number = get<double>()) return *number != 0;
    if (const String* string = get<String>()) return !string->bytes.empty();
    if (const Sequence* sequence = get<Sequence>()) return !sequence->items.empty();
    if (const Dict* dict = get<Dict>()) return dict->size() != 0;
    return true;
}

bool Value::is_same(const Value& other) const noexcept {
    if (storage_.index() != other.storage_.index()) return false;
    if (is_undefined() || is_none()) return true;
    if (const String* string = get<String>()) {
        const String* same = other.get<String>();
        return string->bytes == same->bytes && string->is_markup == same->is_markup;
    }
    return storage_ == other.storage_;
}

int nesting(const Value& value) noexcept {
    if (const Sequence* sequence = value.get<Sequence>()) return sequence->nesting;
    if (const Dict* dict = value.get<Dict>()) return dict->nesting();
    if (const Generator* generator = value.get<Generator>()) return generator->nesting;
    if (const Callable* callable = value.get<Callable>()) return callable->nesting();
    return 0;
}

int nesting_around(int nesting_of_element) {
    if (nesting_of_element >= kMaxNesting) {
        fail(ErrorKind::bad_input, "values lie one within the other more than {} deep; that is the limit",
             kMaxNesting);
    }
    return nesting_of_element + 1;
}

int nesting_around(const Values& elements) {
    int deepest = 0;
    for (const Value& element : elements) deepest = std::max(deepest, nesting(element));
    return nesting_around(deepest);
}

KeyUse key_use(const Value& value) noexcept {
    if (value.is_none() || value.is_string() || is_number(value)) return KeyUse::key;
    if (const Sequence* sequence = value.get<Sequence>()) return sequence->key_use;
    return value.get<Dict>() != nullptr ? KeyUse::refused : KeyUse::never_in;
}

Value make_string(std::string bytes, Budget* budget) {
    return make_string_object(std::move(bytes), false, budget);
}

Value make_markup(std::string bytes, Budget* budget) {
    return make_string_object(std::move(bytes), true, budget);
}

Value make_string_like(const String& like, std::string bytes, Budget* budget) {
    return make_string_object(std::move(bytes), like.is_markup, budget);
}

Value make_sequence(SequenceKind kind, Values items, Budget* budget) {
    const int depth = nesting_around(items);
    KeyUse use = kind == SequenceKind::list ? KeyUse::refused : KeyUse::never_in;
    if (kind == SequenceKind::tuple) {
        use = KeyUse::key;
        for (const Value& item : items) use = std::max(use, key_use(item));
    }
    Share share = share_of(items, budget);
    return Value(
        std::make_shared<const Sequence>(Sequence{kind, std::move(items), depth, use, std::move(share)}));
}

Value make_generator(Values items, Budget* budget) {
    const int depth = nesting_around(items);
    Share share = share_of(items, budget);
    return Value(std::make_shared<Generator>(Generator{std::move(items), 0, depth, std::move(share)}));
}

std::string_view type_name(const Value& value) noexcept {
    if (value.is_undefined()) return "Undefined";
    if (value.is_none()) return "NoneType";
    if (value.get<bool>() != nullptr) return "bool";
    if (value.get<double>() != nullptr) return "float";
    if (const String* string = value.get<String>()) return string->is_markup ? "Markup" : "str";
    if (value.get<Dict>() != nullptr) return "dict";
    if (value.get<Generator>() != nullptr) return "generator";
    if (value.get<Namespace>() != nullptr) return "Namespace";
    if (value.get<Loop>() != nullptr) return "LoopContext";
    if (const Callable* callable = value.get<Callable>()) return callable->type_name();
    if (const Sequence* sequence = value.get<Sequence>()) {
        switch (sequence->kind) {
            case SequenceKind::list:
                return "list";
            case SequenceKind::tuple:
                return "tuple";
            case SequenceKind::range:
                return "range";
            case SequenceKind::dict_keys:
                return "dict_keys";
            case SequenceKind::dict_values:
                return "dict_values";
            case SequenceKind::dict_items:
                return "dict_items";
        }
    }
    return "int";
}

void fail_undefined(const Undefined* undefined) {
    fail(ErrorKind::bad_input, "{}", undefined == nullptr ? "the value is undefined" : undefined->message);
}

void expect_defined(const Value& value) {
    if (value.is_undefined()) fail_undefined(value.get<Undefined>());
}

std::string_view expect_text(const Value& value, std::string_view what) {
    const String* string = value.get<String>();
    if (string == nullptr) fail(ErrorKind::bad_input, "{} must be str, not {}", what, type_name(value));
    return string->bytes;
}

}  // namespace greenroom::text::jinja
