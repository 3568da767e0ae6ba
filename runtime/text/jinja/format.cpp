#include "runtime/text/jinja/format.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/access.h"
#include "runtime/text/jinja/code_points.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/format_field.h"
#include "runtime/text/jinja/numbers.h"
#include "runtime/text/jinja/operators.h"
#include "runtime/text/jinja/repr.h"

#include <algorithm>

namespace greenroom::text::jinja {
namespace {

std::string repr_of(Budget& budget, const Value& value) {
    TextBuilder out(budget);
    append_repr(out, value);
    return std::move(out).take();
}

// Takes the text before the first of these characters.
std::string_view take_until(std::string_view& text, std::string_view ends) {
    const std::string_view taken = text.substr(0, text.find_first_of(ends));
    text.remove_prefix(taken.size());
    return taken;
}

class PercentFormatter {
  public:
    PercentFormatter(Rendering& rendering, const String& pattern, const Value& values)
        : rendering_(rendering), pattern_(pattern), values_(values), out_(rendering.budget()) {
        const Sequence* sequence = values.get<Sequence>();
        if (sequence != nullptr && sequence->kind == SequenceKind::tuple) tuple_ = sequence;
    }

    Value format() {
        for (std::string_view rest = pattern_.bytes; !rest.empty();) {
            out_.append(take_until(rest, "%"));
            if (rest.empty()) break;
            rest.remove_prefix(1);
            write_field(rest);
        }
        // What could be a mapping, as Python sees it, may have more than was asked for.
        const bool is_mapping =
            tuple_ == nullptr &&
            (values_.is_undefined() || values_.get<Dict>() != nullptr || values_.get<Sequence>() != nullptr);
        const std::size_t n_values = tuple_ != nullptr ? tuple_->items.size() : 1;
        if (!is_mapping && next_ < n_values)
            fail(ErrorKind::bad_input, "not all arguments converted during string formatting");
        return make_string_like(pattern_, std::move(out_).take(), &rendering_.budget());
    }

  private:
    void write_field(std::string_view& rest) {
        const Value* named = nullptr;
        if (rest.starts_with('(')) {
            rest.remove_prefix(1);
            named = &value_named(take_until(rest, ")"));
            if (!rest.empty()) rest.remove_prefix(1);
        }
        FieldSpec spec;
        take_flags(rest, spec);
        spec.width = take_count(rest).value_or(0);
        if (rest.starts_with('.')) {
            rest.remove_prefix(1);
            spec.precision = take_count(rest).value_or(0);
        }
        if (rest.empty()) fail(ErrorKind::bad_input, "incomplete format");
        const char type = rest.front();
        if (static_cast<unsigned char>(type) >= 0x80) fail_type(take_char(rest));
        rest.remove_prefix(1);
        if (type == '%') return out_.append("%");
        write_value(named != nullptr ? *named : next_value(), type, spec);
    }

    static void take_flags(std::string_view& rest, FieldSpec& spec) {
        spec.align = '\0';
        for (; !rest.empty(); rest.remove_prefix(1)) {
            if (rest.front() == '-')
                spec.align = '<';
            else if (rest.front() == '0')
                spec.pads_zeros = true;
            else if (rest.front() == '#')
                spec.has_prefix = true;
            else if (rest.front() == '+' || (rest.front() == ' ' && spec.sign != '+'))
                spec.sign = rest.front();
            else if (rest.front() != ' ')
                return;
        }
    }

    void write_value(const Value& value, char type, FieldSpec spec) {
        Budget& budget = rendering_.budget();
        if (spec.align == '<') spec.pads_zeros = false;
        if (type == 's' || type == 'r' || type == 'c') {
            if (spec.align == '\0') spec.align = '>';
            spec.pads_zeros = false;
            spec.sign = '-';
            std::string text = type == 'r' ? repr_of(budget, value) : to_text(budget, value);
            if (type == 'c' && is_number(value)) text = format_field(budget, value, parse_field_spec("c"));
            if (pattern_.is_markup)
                text = escape_markup(budget, type == 's' ? value : rendering_.string(std::move(text)));
            return out_.append(format_field(budget, rendering_.string(std::move(text)), spec));
        }
        expect_defined(value);
        static constexpr std::string_view kNumberTypes = "diuoxXeEfFgG";
        if (kNumberTypes.find(type) == kNumberTypes.npos) fail_type({&type, 1});
        if (!is_number(value)) {
            fail(ErrorKind::bad_input, "%{} format: a number is required, not {}", type, type_name(value));
        }
        spec.type = type == 'i' || type == 'u' ? 'd' : type;
        const double* real = value.get<double>();
        const bool truncates = spec.type == 'd' && real != nullptr;
        out_.append(format_field(budget, truncates ? truncate_real(*real, &budget) : value, spec));
    }

    [[noreturn]] static void fail_type(std::string_view type) {
        fail(ErrorKind::bad_input, "unsupported format character '{}'", type);
    }

    const Value& value_named(std::string_view name) const {
        const Dict* dict = values_.get<Dict>();
        if (dict == nullptr) fail(ErrorKind::bad_input, "format requires a mapping");
        const Value* value = dict->find(name);
        if (value == nullptr) fail(ErrorKind::bad_input, "the format names '{}', which is not given", name);
        return *value;
    }

    const Value& next_value() {
        const std::size_t at = next_++;
        if (tuple_ == nullptr && at == 0) return values_;
        if (tuple_ == nullptr || at >= tuple_->items.size())
            fail(ErrorKind::bad_input, "not enough arguments for format string");
        return tuple_->items[at];
    }

    Rendering& rendering_;
    const String& pattern_;
    const Value& values_;
    const Sequence* tuple_ = nullptr;
    std::size_t next_ = 0;
    TextBuilder out_;
};

class BraceFormatter {
  public:
    BraceFormatter(Rendering& rendering, const String& pattern, const CallArguments& arguments)
        : rendering_(rendering), pattern_(pattern), arguments_(arguments), out_(rendering.budget()) {}

    Value format() {
        for (std::string_view rest = pattern_.bytes; !rest.empty();) {
            out_.append(take_until(rest, "{}"));
            if (rest.empty()) break;
            const char brace = rest.front();
            rest.remove_prefix(1);
            if (rest.starts_with(brace)) {
                rest.remove_prefix(1);
                out_.append({&brace, 1});
            } else if (brace == '}') {
                fail(ErrorKind::bad_input, "single '}}' encountered in format string");
            } else {
                out_.append(take_field(rest));
            }
        }
        return make_string_like(pattern_, std::move(out_).take(), &rendering_.budget());
    }

  private:
    // NAME, .ATTRIBUTE and [INDEX] any number of times, !CONVERSION, :SPEC and the closing brace.
    std::string take_field(std::string_view& rest) {
        Value value = take_argument(rest);
        while (rest.starts_with('.') || rest.starts_with('[')) {
            const bool is_attribute = rest.starts_with('.');
            rest.remove_prefix(1);
            const std::string_view name = take_until(rest, is_attribute ? ".[!:{}" : "]{}");
            if (!is_attribute) expect(rest, ']');
            value = is_attribute ? get_attribute(rendering_, value, name) : item(value, name);
        }
        Budget& budget = rendering_.budget();
        if (rest.starts_with('!')) {
            rest.remove_prefix(1);
            const std::string_view conversion = take_until(rest, ":{}");
            if (conversion != "s" && conversion != "r")
                fail(ErrorKind::unsupported, "the conversion '!{}' is not supported", conversion);
            value = rendering_.string(conversion == "r" ? repr_of(budget, value) : to_text(budget, value));
        }
        const std::string spec = take_spec(rest);
        expect(rest, '}');
        const String* string = value.get<String>();
        if (string != nullptr && string->is_markup && pattern_.is_markup) return string->bytes;
        std::string text = format_value(value, spec);
        if (!pattern_.is_markup) return text;
        return escape_markup(budget, rendering_.string(std::move(text)));
    }

    std::string format_value(const Value& value, std::string_view spec) {
        if (spec.empty()) return to_text(rendering_.budget(), value);
        if (!is_number(value) && !value.is_string()) {
            fail(ErrorKind::bad_input, "unsupported format string passed to {}.__format__", type_name(value));
        }
        return format_field(rendering_.budget(), value, parse_field_spec(spec));
    }

    Value take_argument(std::string_view& rest) {
        const std::string_view name = take_until(rest, ".[!:{}");
        if (name.empty() || std::all_of(name.begin(), name.end(), is_ascii_digit)) {
            std::string_view digits = name;
            const std::size_t at = name.empty() ? next_++ : static_cast<std::size_t>(*take_count(digits));
            if (at >= arguments_.positional.size())
                fail(ErrorKind::bad_input, "the format wants argument {}, which is not given", at);
            return arguments_.positional[at];
        }
        const auto found = std::find_if(arguments_.named.begin(), arguments_.named.end(),
                                        [&](const auto& named) { return named.first == name; });
        if (found == arguments_.named.end())
            fail(ErrorKind::bad_input, "the format wants argument '{}', which is not given", name);
        return found->second;
    }

    Value item(const Value& value, std::string_view index) {
        const bool is_number = !index.empty() && std::all_of(index.begin(), index.end(), is_ascii_digit);
        return get_item(rendering_, value,
                        is_number ? parse_integer(index) : rendering_.string(std::string(index)));
    }

    // A spec may hold fields of its own, one level deep.
    std::string take_spec(std::string_view& rest) {
        if (!rest.starts_with(':')) return "";
        rest.remove_prefix(1);
        std::string spec(take_until(rest, "{}"));
        while (rest.starts_with('{')) {
            rest.remove_prefix(1);
            spec += to_text(rendering_.budget(), take_argument(rest));
            expect(rest, '}');
            spec += take_until(rest, "{}");
        }
        return spec;
    }

    static void expect(std::string_view& rest, char c) {
        if (!rest.starts_with(c)) fail(ErrorKind::bad_input, "expected '{}' in format string", c);
        rest.remove_prefix(1);
    }

    Rendering& rendering_;
    const String& pattern_;
    const CallArguments& arguments_;
    std::size_t next_ = 0;
    TextBuilder out_;
};

}  // namespace

Value format_percent(Rendering& rendering, const String& pattern, const Value& values) {
    return PercentFormatter(rendering, pattern, values).format();
}

Value format_braces(Rendering& rendering, const String& pattern, const CallArguments& arguments) {
    return BraceFormatter(rendering, pattern, arguments).format();
}

std::string replace_text(Budget& budget, std::string_view text, std::string_view old,
                         std::string_view replacement, std::int64_t count) {
    TextBuilder out(budget);
    if (old.empty()) {
        for (; count > 0; --count) {
            out.append(replacement);
            if (text.empty()) break;
            out.append(take_char(text));
        }
    }
    pay_for_search(budget, text, old);
    for (; !old.empty() && count > 0; --count) {
        const std::size_t at = find_text(text, old);
        if (at == text.npos) break;
        out.append(text.substr(0, at));
        out.append(replacement);
        text.remove_prefix(at + old.size());
    }
    out.append(text);
    return std::move(out).take();
}

}  // namespace greenroom::text::jinja
