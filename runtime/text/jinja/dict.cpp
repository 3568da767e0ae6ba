#include "runtime/text/jinja/dict.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/numbers.h"

#include <algorithm>
#include <compare>

namespace greenroom::text::jinja {
namespace {

// An entry, its key in the index and the node that holds it.
constexpr std::size_t kEntryBytes = sizeof(Dict::Entry) + 96;

const Sequence* as_tuple(const Value& value) noexcept {
    const Sequence* sequence = value.get<Sequence>();
    return sequence != nullptr && sequence->kind == SequenceKind::tuple ? sequence : nullptr;
}

int rank(const Value& key) noexcept {
    if (key.is_none()) return 0;
    if (is_number(key)) return 1;
    return key.is_string() ? 2 : 3;
}

}  // namespace

void expect_hashable(const Value& value) {
    if (key_use(value) == KeyUse::refused)
        fail(ErrorKind::bad_input, "unhashable type: '{}'", type_name(value));
}

void Dict::set(Value key, Value value) {
    expect_hashable(key);
    if (key_use(key) != KeyUse::key)
        fail(ErrorKind::unsupported, "'{}' as a key of a dict is not supported", type_name(key));
    nesting_ =
        std::max({nesting_, nesting_around(jinja::nesting(key)), nesting_around(jinja::nesting(value))});
    if (const auto found = index_.find(key); found != index_.end()) {
        entries_[found->second].value = std::move(value);
        return;
    }
    share_.grow(kEntryBytes);
    index_.emplace(key, entries_.size());
    entries_.push_back({std::move(key), std::move(value)});
}

void Dict::set(std::string_view key, Value value) {
    set(make_string(std::string(key), share_.budget()), std::move(value));
}

void Dict::clear() noexcept {
    entries_.clear();
    index_.clear();
}

template <class Key>
const Value* Dict::find_key(const Key& key) const {
    const auto found = index_.find(key);
    return found == index_.end() ? nullptr : &entries_[found->second].value;
}

const Value* Dict::find(const Value& key) const {
    return key_use(key) == KeyUse::key ? find_key(key) : nullptr;
}
const Value* Dict::find(std::string_view key) const { return find_key(key); }

int Dict::KeyLess::compare(const Value& a, const Value& b) const {
    if (budget != nullptr) budget->step();
    if (const int difference = rank(a) - rank(b); difference != 0) return difference;
    if (const String* string = b.get<String>()) return compare(a, string->bytes);
    if (is_number(a)) {
        const std::partial_ordering order = compare_numbers(a, b);
        if (order != std::partial_ordering::unordered)
            return std::is_lt(order) ? -1 : std::is_gt(order) ? 1 : 0;
        // NaN is not even equal to itself; as a key it is, and greater than the other numbers.
        return int{is_nan(a)} - int{is_nan(b)};
    }
    const Sequence* left = as_tuple(a);
    const Sequence* right = as_tuple(b);
    if (left == nullptr || right == nullptr) return 0;
    for (std::size_t i = 0; i < std::min(left->items.size(), right->items.size()); ++i)
        if (const int order = compare(left->items[i], right->items[i]); order != 0) return order;
    return left->items.size() < right->items.size() ? -1 : left->items.size() > right->items.size() ? 1 : 0;
}

int Dict::KeyLess::compare(const Value& a, std::string_view b) const {
    const String* string = a.get<String>();
    return string == nullptr ? rank(a) - 2 : compare_text(string->bytes, b);
}

int Dict::KeyLess::compare_text(std::string_view a, std::string_view b) const {
    if (budget != nullptr) budget->work(std::min(a.size(), b.size()));
    return a.compare(b);
}

void expect_public_name(std::string_view attribute) {
    if (!attribute.starts_with('_')) return;
    fail(ErrorKind::bad_input,
         "an attribute of a namespace must not begin with '_', as '{}' does. Please rename it.", attribute);
}

Value make_dict(Dict dict) { return Value(std::make_shared<const Dict>(std::move(dict))); }

}  // namespace greenroom::text::jinja
