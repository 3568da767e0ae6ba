// Filters that compare the elements of a sequence with one another.

#include "quant/base/error.h"
#include "runtime/text/jinja/case_mapping.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/filters.h"
#include "runtime/text/jinja/iterator.h"
#include "runtime/text/jinja/operators.h"

#include <algorithm>
#include <array>
#include <vector>

namespace greenroom::text::jinja {
namespace {

enum class CaseRule { ignore, respect };

CaseRule case_rule(Call& call, std::size_t parameter) {
    return call.truth(parameter, false) ? CaseRule::respect : CaseRule::ignore;
}

// What an element is compared by.
struct Keyed {
    Value element;
    Values keys;
};

Value comparable(Call& call, const Value& value, CaseRule rule) {
    const String* string = value.get<String>();
    if (rule == CaseRule::respect || string == nullptr) return value;
    call.budget().work(8 * string->bytes.size());
    return call.rendering().string(to_lower(string->bytes));
}

std::vector<Keyed> with_keys(Call& call, Values elements, const Value& attribute, CaseRule rule) {
    const AttributePaths paths(call.rendering(), attribute);
    std::vector<Keyed> keyed;
    keyed.reserve(elements.size());
    for (Value& element : elements) {
        Values keys = paths.get_all(element);
        for (Value& key : keys) key = comparable(call, key, rule);
        keyed.push_back({std::move(element), std::move(keys)});
    }
    return keyed;
}

bool is_less(Budget& budget, const Keyed& a, const Keyed& b) {
    for (std::size_t i = 0; i < a.keys.size(); ++i) {
        budget.step();
        if (compare(budget, Comparison::less, a.keys[i], b.keys[i])) return true;
        if (i + 1 < a.keys.size() && !equal(budget, a.keys[i], b.keys[i])) return false;
    }
    return false;
}

void sort_stably(Budget& budget, std::vector<Keyed>& elements, bool reverse) {
    std::stable_sort(elements.begin(), elements.end(), [&](const Keyed& a, const Keyed& b) {
        return reverse ? is_less(budget, b, a) : is_less(budget, a, b);
    });
}

Value attribute_argument(Call& call, std::size_t parameter) {
    return call.find(parameter) == nullptr ? Value::none() : call.get(parameter);
}

Values elements_of(std::vector<Keyed> keyed) {
    Values elements;
    elements.reserve(keyed.size());
    for (Keyed& one : keyed) elements.push_back(std::move(one.element));
    return elements;
}

Value sort(Call& call) {
    auto keyed = with_keys(call, to_items(call.rendering(), call.self()), attribute_argument(call, 2),
                           case_rule(call, 1));
    sort_stably(call.budget(), keyed, call.truth(0, false));
    return call.rendering().list(elements_of(std::move(keyed)));
}

// The entries of a dict, as pairs, by their keys or values.
Value sort_dict(Call& call) {
    const Dict* dict = call.self().get<Dict>();
    if (dict == nullptr)
        fail(ErrorKind::bad_input, "dictsort: the input must be dict, not {}", type_name(call.self()));
    const std::string_view by = call.text(1, "key");
    if (by != "key" && by != "value")
        fail(ErrorKind::bad_input, "You can only sort by either \"key\" or \"value\"");
    Values pairs;
    for (const Dict::Entry& entry : dict->entries())
        pairs.push_back(call.rendering().tuple({entry.key, entry.value}));
    auto keyed = with_keys(call, std::move(pairs), Value::integer(by == "key" ? 0 : 1), case_rule(call, 0));
    sort_stably(call.budget(), keyed, call.truth(2, false));
    return call.rendering().list(elements_of(std::move(keyed)));
}

Value unique(Call& call) {
    auto keyed = with_keys(call, to_items(call.rendering(), call.self()), attribute_argument(call, 1),
                           case_rule(call, 0));
    Dict seen(&call.budget());
    Values kept;
    for (Keyed& one : keyed) {
        const std::size_t n_seen = seen.size();
        seen.set(one.keys.front(), Value::none());
        if (seen.size() > n_seen) kept.push_back(std::move(one.element));
    }
    return call.rendering().generator(std::move(kept));
}

enum class Extreme { least, greatest };

// The first one of several that are as small, or as great.
template <Extreme extreme>
Value find_extreme(Call& call) {
    const auto keyed = with_keys(call, to_items(call.rendering(), call.self()), attribute_argument(call, 1),
                                 case_rule(call, 0));
    if (keyed.empty()) return Value::undefined("No aggregated item, sequence was empty.");
    const Keyed* best = &keyed.front();
    for (std::size_t i = 1; i < keyed.size(); ++i) {
        const bool is_better = extreme == Extreme::least ? is_less(call.budget(), keyed[i], *best)
                                                         : is_less(call.budget(), *best, keyed[i]);
        if (is_better) best = &keyed[i];
    }
    return best->element;
}

}  // namespace

std::span<const Builtin> order_filters() noexcept {
    static constexpr std::array<Builtin, 5> kFilters = {{
        {"dictsort", "case_sensitive? by? reverse?", sort_dict},
        {"max", "case_sensitive? attribute?", find_extreme<Extreme::greatest>},
        {"min", "case_sensitive? attribute?", find_extreme<Extreme::least>},
        {"sort", "reverse? case_sensitive? attribute?", sort},
        {"unique", "case_sensitive? attribute?", unique},
    }};
    return kFilters;
}

}  // namespace greenroom::text::jinja
