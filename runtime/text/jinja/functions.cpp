#include "runtime/text/jinja/functions.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/iterator.h"
#include "runtime/text/jinja/repr.h"

#include <array>

namespace greenroom::text::jinja {
namespace {

constexpr std::int64_t kMaxRange = 100'000;  // jinja2's sandbox has the same

Value range(Call& call) {
    std::int64_t start = call.integer(0, 0);
    std::int64_t stop = call.integer(1, 0);
    const std::int64_t step = call.integer(2, 1);
    if (call.find(1) == nullptr) {
        stop = start;
        start = 0;
    }
    if (step == 0) fail(ErrorKind::bad_input, "range() arg 3 must not be zero");
    Values items;
    const auto goes_on = [&](std::int64_t at) { return step > 0 ? at < stop : at > stop; };
    for (std::int64_t at = start; goes_on(at);) {
        if (items.size() == kMaxRange) {
            fail(ErrorKind::bad_input, "Range too big. The sandbox blocks ranges larger than {}.", kMaxRange);
        }
        items.push_back(Value::integer(at));
        if (__builtin_add_overflow(at, step, &at)) break;
    }
    call.budget().step(static_cast<std::int64_t>(items.size()) / 8);
    return make_sequence(SequenceKind::range, std::move(items), &call.budget());
}

// Python's dict(mapping or pairs, **named).
Dict make_entries(Call& call) {
    const CallArguments& arguments = call.arguments();
    Dict entries(&call.budget());
    if (arguments.positional.size() > 1) {
        fail(ErrorKind::bad_input, "{} expected at most 1 argument, got {}", call.name(),
             arguments.positional.size());
    }
    for (const Value& source : arguments.positional) {
        if (const Dict* dict = source.get<Dict>()) {
            for (const Dict::Entry& entry : dict->entries()) entries.set(entry.key, entry.value);
            continue;
        }
        for (const Value& pair : to_items(call.rendering(), source)) {
            const Values key_and_value = to_items(call.rendering(), pair);
            if (key_and_value.size() != 2)
                fail(ErrorKind::bad_input, "{}() wants pairs of keys and values", call.name());
            entries.set(key_and_value[0], key_and_value[1]);
        }
    }
    for (const auto& [name, value] : arguments.named) entries.set(name, value);
    return entries;
}

Value new_dict(Call& call) { return make_dict(make_entries(call)); }

Value new_namespace(Call& call) {
    Dict attributes = make_entries(call);
    for (const Dict::Entry& entry : attributes.entries())
        if (const String* name = entry.key.get<String>()) expect_public_name(name->bytes);
    return call.rendering().new_namespace(std::move(attributes));
}

Value raise_exception(Call& call) { fail(ErrorKind::bad_input, "{}", to_text(call.budget(), call.get(0))); }

Value strftime_now(Call& call) {
    return call.rendering().string(call.rendering().now().format(call.text(0)));
}

Value unsupported(Call& call) {
    fail(ErrorKind::unsupported, "the function {}() is not supported", call.name());
}

constexpr std::array<Builtin, 8> kFunctions = {{
    {"cycler", "*", unsupported},
    {"dict", "*", new_dict},
    {"joiner", "*", unsupported},
    {"lipsum", "*", unsupported},
    {"namespace", "*", new_namespace},
    {"raise_exception", "message", raise_exception},
    {"range", "start stop? step?", range},
    {"strftime_now", "format", strftime_now},
}};

}  // namespace

const Builtin* find_function(std::string_view name) noexcept { return find_builtin(kFunctions, name); }

}  // namespace greenroom::text::jinja
