// Filters that take their input as a text.

#include "quant/base/error.h"
#include "runtime/text/jinja/case_mapping.h"
#include "runtime/text/jinja/code_points.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/filters.h"
#include "runtime/text/jinja/format.h"
#include "runtime/text/jinja/methods.h"
#include "runtime/text/jinja/operators.h"
#include "runtime/text/jinja/repr.h"

#include <array>
#include <limits>

namespace greenroom::text::jinja {
namespace {

// jinja2's soft_str(): strings stay what they are, markup included, and others become their str().
Value soft_string(Call& call) {
    return call.self().is_string() ? call.self() : call.rendering().string(call.self_text());
}

// The method of str that has the filter's name.
Value apply_method(Call& call) {
    const Value text = soft_string(call);
    return call_builtin(call.rendering(), *find_method(text, call.name()), text, call.arguments());
}

Value trim(Call& call) {
    const Value text = soft_string(call);
    return call_builtin(call.rendering(), *find_method(text, "strip"), text, call.arguments());
}

// Unlike str.title(), begins words after blanks, hyphens and opening brackets only: "it's" becomes "It's".
Value title(Call& call) {
    const Value input = soft_string(call);
    const String& text = *input.get<String>();
    call.budget().step(static_cast<std::int64_t>(text.bytes.size()));
    std::string out;
    std::string_view rest = text.bytes;
    while (!rest.empty()) {
        const auto ends_word = [](char32_t c) {
            return is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
        };
        const std::string_view first = take_char(rest);
        std::string_view peeked = first;
        const bool is_separator = ends_word(take_code_point(peeked));
        std::string_view tail = rest;
        std::size_t size = 0;
        while (!is_separator && !tail.empty() && !ends_word(take_code_point(tail)))
            size = rest.size() - tail.size();
        out += to_upper(first);
        out += to_lower(rest.substr(0, size));
        rest.remove_prefix(size);
    }
    return make_string_like(text, std::move(out), &call.budget());
}

Value center(Call& call) {
    const Value text = soft_string(call);
    const Value width = call.find(0) == nullptr ? Value::integer(80) : call.get(0);
    return call_builtin(call.rendering(), *find_method(text, "center"), text, {{width}, {}});
}

Value replace(Call& call) {
    const std::int64_t count = call.find_given(2) == nullptr ? -1 : call.integer(2, -1);
    Budget& budget = call.budget();
    return call.rendering().string(
        replace_text(budget, call.self_text(), to_text(budget, call.get(0)), to_text(budget, call.get(1)),
                     count < 0 ? std::numeric_limits<std::int64_t>::max() : count));
}

Value indent(Call& call) {
    if (!call.self().is_string())
        fail(ErrorKind::bad_input, "indent: the input must be str, not {}", type_name(call.self()));
    const bool has_text = call.find(0) != nullptr && call.get(0).is_string();
    Budget& budget = call.budget();
    TextBuilder indention(budget);
    if (has_text)
        indention.append(call.text(0));
    else
        indention.append(call.integer(0, 4), " ");
    const bool indents_first = call.truth(1, false);
    const bool indents_blank = call.truth(2, false);

    // With a line end behind it, a text that ends in one has an empty last line, which is kept.
    const std::string text = call.self_string().bytes + "\n";
    budget.work(4 * text.size());
    TextBuilder out(budget);
    bool is_first = true;
    for (std::string_view rest = text; !rest.empty();) {
        const std::string_view line = take_line(rest);
        if (!is_first) out.append("\n");
        if (is_first ? indents_first : (indents_blank || !line.empty())) out.append(indention.text());
        out.append(line);
        is_first = false;
    }
    return make_string_like(call.self_string(), std::move(out).take(), &budget);
}

Value format(Call& call) {
    const CallArguments& arguments = call.arguments();
    if (!arguments.named.empty() && !arguments.positional.empty())
        fail(ErrorKind::bad_input, "format: positional and named arguments cannot be mixed");
    Value values = call.rendering().tuple(arguments.positional);
    if (!arguments.named.empty()) {
        Dict named(&call.budget());
        for (const auto& [name, value] : arguments.named) named.set(name, value);
        values = make_dict(std::move(named));
    }
    const Value pattern = soft_string(call);
    return format_percent(call.rendering(), *pattern.get<String>(), values);
}

Value mark_safe(Call& call) { return make_markup(call.self_text(), &call.budget()); }

Value escape(Call& call) { return make_markup(escape_markup(call.budget(), call.self()), &call.budget()); }

Value force_escape(Call& call) {
    const Value plain = call.rendering().string(call.self_text());
    return make_markup(escape_markup(call.budget(), plain), &call.budget());
}

}  // namespace

std::span<const Builtin> text_filters() noexcept {
    static constexpr std::array<Builtin, 14> kFilters = {{
        {"capitalize", "*", apply_method},
        {"center", "width?", center},
        {"e", "", escape},
        {"escape", "", escape},
        {"forceescape", "", force_escape},
        {"format", "*", format},
        {"indent", "width? first? blank?", indent},
        {"lower", "*", apply_method},
        {"replace", "old new count?", replace},
        {"safe", "", mark_safe},
        {"string", "", soft_string},
        {"title", "", title},
        {"trim", "*", trim},
        {"upper", "*", apply_method},
    }};
    return kFilters;
}

}  // namespace greenroom::text::jinja
