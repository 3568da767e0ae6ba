// Filters that go through a sequence.

#include "quant/base/error.h"
#include "runtime/text/jinja/access.h"
#include "runtime/text/jinja/code_points.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/filters.h"
#include "runtime/text/jinja/iterator.h"
#include "runtime/text/jinja/numbers.h"
#include "runtime/text/jinja/operators.h"
#include "runtime/text/jinja/repr.h"
#include "runtime/text/jinja/tests.h"

#include <algorithm>
#include <array>
#include <functional>

namespace greenroom::text::jinja {
namespace {

Value list(Call& call) { return call.rendering().list(to_items(call.rendering(), call.self())); }

Value first(Call& call) {
    auto item = Iterator(call.rendering(), call.self()).next();
    return item ? *item : Value::undefined("No first item, sequence was empty.");
}

Value last(Call& call) {
    if (call.self().get<Generator>() != nullptr)
        fail(ErrorKind::bad_input, "'generator' object is not reversible");
    const Values items = to_items(call.rendering(), call.self());
    return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value reverse(Call& call) {
    if (const String* string = call.self().get<String>()) {
        TextBuilder out(call.budget());
        for (std::string_view rest = string->bytes; !rest.empty();) out.append(take_last_char(rest));
        return make_string_like(*string, std::move(out).take(), &call.budget());
    }
    Values items = to_items(call.rendering(), call.self());
    std::reverse(items.begin(), items.end());
    return call.rendering().generator(std::move(items));
}

Value items(Call& call) {
    const Dict* dict = call.self().get<Dict>();
    if (dict == nullptr && !call.self().is_undefined())
        fail(ErrorKind::bad_input, "Can only get item pairs from a mapping.");
    Values pairs;
    for (std::size_t i = 0; dict != nullptr && i < dict->size(); ++i) {
        call.budget().step();
        pairs.push_back(call.rendering().tuple({dict->entries()[i].key, dict->entries()[i].value}));
    }
    return call.rendering().generator(std::move(pairs));
}

Value join(Call& call) {
    const std::string separator = call.find(0) == nullptr ? "" : to_text(call.budget(), call.get(0));
    const Value attribute = call.find(1) == nullptr ? Value::none() : call.get(1);
    const AttributePaths paths(call.rendering(), attribute);
    TextBuilder out(call.budget());
    bool is_first = true;
    for (const Value& item : to_items(call.rendering(), call.self())) {
        if (!is_first) out.append(separator);
        is_first = false;
        append_text(out, paths.get_first(item));
    }
    return call.rendering().string(std::move(out).take());
}

Value sum(Call& call) {
    const Value attribute = call.find(0) == nullptr ? Value::none() : call.get(0);
    const AttributePaths paths(call.rendering(), attribute);
    Value total = call.find(1) == nullptr ? Value::integer(0) : call.get(1);
    for (const Value& item : to_items(call.rendering(), call.self()))
        total = apply(call.rendering(), Arithmetic::add, total, paths.get_first(item));
    return total;
}

// Lists of n elements each; the last one filled up if there is something to fill it with.
Value batch(Call& call) {
    const std::int64_t n = call.integer(0, 1);
    Values batches;
    Values current;
    const auto finish = [&] { batches.push_back(call.rendering().list(std::exchange(current, {}))); };
    for (Value& item : to_items(call.rendering(), call.self())) {
        if (static_cast<std::int64_t>(current.size()) == n) finish();
        current.push_back(std::move(item));
    }
    if (current.empty()) return call.rendering().generator(std::move(batches));
    if (call.find_given(1) != nullptr) {
        const std::int64_t n_missing =
            std::max<std::int64_t>(n - static_cast<std::int64_t>(current.size()), 0);
        call.budget().check_text_size(n_missing, sizeof(Value));
        current.resize(current.size() + static_cast<std::size_t>(n_missing), call.get(1));
    }
    finish();
    return call.rendering().generator(std::move(batches));
}

// map(attribute=…, default=…), or map(FILTER, its arguments…).
Value map(Call& call) {
    const CallArguments& arguments = call.arguments();
    Rendering& rendering = call.rendering();
    Values results;
    if (!call.self().truth()) return rendering.generator({});  // none, too
    if (arguments.positional.empty()) {
        Value attribute;
        Value otherwise = Value::none();
        for (const auto& [name, value] : arguments.named) {
            if (name == "attribute")
                attribute = value;
            else if (name == "default")
                otherwise = value;
            else
                fail(ErrorKind::bad_input, "map: unexpected keyword argument '{}'", name);
        }
        if (attribute.is_undefined()) fail(ErrorKind::bad_input, "map requires a filter argument");
        const AttributePaths paths(rendering, attribute);
        for (const Value& item : to_items(rendering, call.self())) {
            Value result = paths.get_first(item);
            results.push_back(result.is_undefined() && !otherwise.is_none() ? otherwise : std::move(result));
        }
        return rendering.generator(std::move(results));
    }
    const Builtin& filter = require_filter(expect_text(arguments.positional.front(), "map: the filter"));
    CallArguments passed = arguments;
    passed.positional.erase(passed.positional.begin());
    for (const Value& item : to_items(rendering, call.self()))
        results.push_back(call_builtin(rendering, filter, item, passed));
    return rendering.generator(std::move(results));
}

enum class Subject { element, attribute };
enum class Keep { passing, failing };

// select(TEST, its arguments…); without a test, by truth. selectattr(ATTRIBUTE, TEST, …).
template <Subject subject, Keep keep>
Value select(Call& call) {
    if (!call.self().truth()) return call.rendering().generator({});  // none, too
    CallArguments passed = call.arguments();
    Value attribute = Value::none();
    if (subject == Subject::attribute) {
        if (passed.positional.empty()) fail(ErrorKind::bad_input, "Missing parameter for attribute name");
        attribute = passed.positional.front();
        passed.positional.erase(passed.positional.begin());
    }
    const Builtin* test = nullptr;
    if (!passed.positional.empty()) {
        test = &require_test(expect_text(passed.positional.front(), "the name of a test"));
        passed.positional.erase(passed.positional.begin());
    }
    const AttributePaths paths(call.rendering(), attribute);
    Values selected;
    for (Value& item : to_items(call.rendering(), call.self())) {
        const Value tested = paths.get_first(item);
        const bool passes =
            test == nullptr ? tested.truth() : call_builtin(call.rendering(), *test, tested, passed).truth();
        if (passes == (keep == Keep::passing)) selected.push_back(std::move(item));
    }
    return call.rendering().generator(std::move(selected));
}

}  // namespace

AttributePaths::AttributePaths(Rendering& rendering, const Value& attribute)
    : rendering_(rendering), attribute_(attribute) {
    if (!attribute.is_none() && !attribute.is_string() && !as_integer(attribute)) {
        fail(ErrorKind::bad_input, "an attribute must be named by str or int, not {}", type_name(attribute));
    }
}

Values AttributePaths::get_all(const Value& element) const {
    if (attribute_.is_none()) return {element};
    const String* names = attribute_.get<String>();
    if (names == nullptr) return {get_item(rendering_, element, attribute_)};
    Values found;
    std::string_view rest = names->bytes;
    while (true) {
        const std::string_view path = rest.substr(0, rest.find(','));
        found.push_back(get_path(rendering_, element, path));
        if (path.size() == rest.size()) return found;
        rest.remove_prefix(path.size() + 1);
    }
}

std::span<const Builtin> sequence_filters() noexcept {
    using enum Subject;
    using enum Keep;
    static constexpr std::array<Builtin, 13> kFilters = {{
        {"batch", "linecount fill_with?", batch},
        {"first", "", first},
        {"items", "", items},
        {"join", "d? attribute?", join},
        {"last", "", last},
        {"list", "", list},
        {"map", "*", map},
        {"reject", "*", select<element, failing>},
        {"rejectattr", "*", select<Subject::attribute, failing>},
        {"reverse", "", reverse},
        {"select", "*", select<element, passing>},
        {"selectattr", "*", select<Subject::attribute, passing>},
        {"sum", "attribute? start?", sum},
    }};
    return kFilters;
}

}  // namespace greenroom::text::jinja
