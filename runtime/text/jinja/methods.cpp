#include "runtime/text/jinja/methods.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/iterator.h"
#include "runtime/text/jinja/loop.h"
#include "runtime/text/jinja/operators.h"

#include <algorithm>
#include <array>

namespace greenroom::text::jinja {
namespace {

Value items_of(Call& call, SequenceKind kind) {
    const Dict& dict = *call.self().get<Dict>();
    Values items;
    items.reserve(dict.size());
    for (const Dict::Entry& entry : dict.entries()) {
        call.budget().step();
        if (kind == SequenceKind::dict_keys)
            items.push_back(entry.key);
        else if (kind == SequenceKind::dict_values)
            items.push_back(entry.value);
        else
            items.push_back(call.rendering().tuple({entry.key, entry.value}));
    }
    return make_sequence(kind, std::move(items), &call.budget());
}

Value dict_get(Call& call) {
    expect_hashable(call.get(0));
    const Value* item = call.self().get<Dict>()->find(call.get(0));
    if (item != nullptr) return *item;
    return call.find(1) == nullptr ? Value::none() : call.get(1);
}

Value sequence_count(Call& call) {
    const Values& items = call.self().get<Sequence>()->items;
    const auto n = std::count_if(items.begin(), items.end(),
                                 [&](const Value& item) { return equal(call.budget(), item, call.get(0)); });
    return Value::integer(n);
}

Value sequence_index(Call& call) {
    const Values& items = call.self().get<Sequence>()->items;
    const auto n = static_cast<std::int64_t>(items.size());
    const auto resolve = [n](std::int64_t at) {
        return std::clamp<std::int64_t>(at < 0 ? at + n : at, 0, n);
    };
    const std::int64_t stop = resolve(call.integer(2, n));
    for (std::int64_t i = resolve(call.integer(1, 0)); i < stop; ++i)
        if (equal(call.budget(), items[static_cast<std::size_t>(i)], call.get(0))) return Value::integer(i);
    fail(ErrorKind::bad_input, "index(): the value is not in the {}", type_name(call.self()));
}

Value unsupported(Call& call) {
    fail(ErrorKind::unsupported, "the method {}() of '{}' is not supported", call.name(),
         type_name(call.self()));
}

// Methods of Python's str that need types which templates have no other use for.
constexpr std::array<Builtin, 5> kUnsupportedStringMethods = {{
    {"encode", "*", unsupported},
    {"expandtabs", "*", unsupported},
    {"format_map", "*", unsupported},
    {"maketrans", "*", unsupported},
    {"translate", "*", unsupported},
}};

constexpr std::array<std::string_view, 8> kListMutations = {"append", "clear",  "extend",  "insert",
                                                            "pop",    "remove", "reverse", "sort"};
constexpr std::array<std::string_view, 5> kDictMutations = {"clear", "pop", "popitem", "setdefault",
                                                            "update"};

template <std::size_t n>
bool is_one_of(const std::array<std::string_view, n>& names, std::string_view name) noexcept {
    return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

const Builtin* find_method(const Value& object, std::string_view name) noexcept {
    if (object.is_string()) {
        for (const std::span<const Builtin> table :
             {string_methods(), string_search_methods(), std::span<const Builtin>(kUnsupportedStringMethods)})
            if (const Builtin* method = find_builtin(table, name)) return method;
        return nullptr;
    }
    if (object.get<Dict>() != nullptr) return find_builtin(dict_methods(), name);
    if (object.get<Loop>() != nullptr) return find_builtin(loop_methods(), name);
    const Sequence* sequence = object.get<Sequence>();
    if (sequence == nullptr || sequence->kind > SequenceKind::range) return nullptr;
    if (name == "copy" && sequence->kind != SequenceKind::list) return nullptr;
    return find_builtin(sequence_methods(), name);
}

bool is_mutating_method(const Value& object, std::string_view name) noexcept {
    const Sequence* sequence = object.get<Sequence>();
    if (sequence != nullptr && sequence->kind == SequenceKind::list) return is_one_of(kListMutations, name);
    return object.get<Dict>() != nullptr && is_one_of(kDictMutations, name);
}

std::span<const Builtin> sequence_methods() noexcept {
    static constexpr std::array<Builtin, 3> kMethods = {{
        {"copy", "", [](Call& call) { return call.self(); }},
        {"count", "value", sequence_count},
        {"index", "value start? stop?", sequence_index},
    }};
    return kMethods;
}

std::span<const Builtin> dict_methods() noexcept {
    static constexpr std::array<Builtin, 6> kMethods = {{
        {"copy", "", [](Call& call) { return call.self(); }},
        {"fromkeys", "*", unsupported},
        {"get", "key default?", dict_get},
        {"items", "", [](Call& call) { return items_of(call, SequenceKind::dict_items); }},
        {"keys", "", [](Call& call) { return items_of(call, SequenceKind::dict_keys); }},
        {"values", "", [](Call& call) { return items_of(call, SequenceKind::dict_values); }},
    }};
    return kMethods;
}

}  // namespace greenroom::text::jinja
