#include "runtime/text/jinja/repr.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/call.h"
#include "runtime/text/jinja/code_points.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/numbers.h"

#include <fmt/format.h>

namespace greenroom::text::jinja {
namespace {

// Namespaces can hold themselves; everything else is flatter than this.
constexpr int kMaxReprDepth = 2 * kMaxNesting;

std::string escaped(std::string_view one_char, char quote) {
    std::string_view rest = one_char;
    const char32_t c = take_code_point(rest);
    switch (c) {
        case '\n':
            return "\\n";
        case '\r':
            return "\\r";
        case '\t':
            return "\\t";
        case '\\':
            return "\\\\";
        default:
            break;
    }
    if (c == static_cast<unsigned char>(quote)) return std::string("\\") + quote;
    if (is_printable(c)) return std::string(one_char);
    const auto code = static_cast<std::uint32_t>(c);
    if (code < 0x100) return fmt::format("\\x{:02x}", code);
    return code < 0x10000 ? fmt::format("\\u{:04x}", code) : fmt::format("\\U{:08x}", code);
}

// Single quotes, unless only those stand in the text.
char quote_for(std::string_view text) {
    const bool takes_double = text.find('\'') != text.npos && text.find('"') == text.npos;
    return takes_double ? '"' : '\'';
}

class ReprWriter {
  public:
    explicit ReprWriter(TextBuilder& out) : out_(out) {}

    void write(const Value& value) {
        if (const String* string = value.get<String>())
            write_string(*string);
        else if (const Sequence* sequence = value.get<Sequence>())
            write_sequence(value, *sequence);
        else if (const Dict* dict = value.get<Dict>())
            write_dict(*dict);
        else if (const Namespace* space = value.get<Namespace>())
            write_namespace(*space);
        else if (value.is_undefined())
            out_.append("Undefined");
        else
            append_text(out_, value);
    }

  private:
    void write_string(const String& string) {
        if (string.is_markup) out_.append("Markup(");
        const char quote = quote_for(string.bytes);
        out_.append({&quote, 1});
        for (std::string_view rest = string.bytes; !rest.empty();)
            out_.append(escaped(take_char(rest), quote));
        out_.append({&quote, 1});
        if (string.is_markup) out_.append(")");
    }

    void write_sequence(const Value& value, const Sequence& sequence) {
        switch (sequence.kind) {
            case SequenceKind::list:
                write_items("[", sequence.items, "]");
                break;
            case SequenceKind::tuple:
                write_items("(", sequence.items, sequence.items.size() == 1 ? ",)" : ")");
                break;
            case SequenceKind::range:
                write_range(sequence.items);
                break;
            default:
                out_.append(type_name(value));
                write_items("([", sequence.items, "])");
                break;
        }
    }

    // A range of numbers knows no more than its elements: it prints the tightest bounds.
    void write_range(const Values& items) {
        const auto at = [&](std::size_t i) { return as_integer(items[i]).value_or(0); };
        const std::int64_t start = items.empty() ? 0 : at(0);
        const std::int64_t step = items.size() < 2 ? 1 : at(1) - at(0);
        const std::int64_t stop = items.empty() ? 0 : at(items.size() - 1) + step;
        out_.append(fmt::format("range({}, {}", start, stop));
        if (step != 1) out_.append(fmt::format(", {}", step));
        out_.append(")");
    }

    void write_items(std::string_view open, const Values& items, std::string_view close) {
        out_.append(open);
        std::string_view separator;
        for (const Value& item : items) {
            out_.append(separator);
            separator = ", ";
            write_nested(item);
        }
        out_.append(close);
    }

    void write_dict(const Dict& dict) {
        out_.append("{");
        std::string_view separator;
        for (const Dict::Entry& entry : dict.entries()) {
            out_.append(separator);
            separator = ", ";
            write_nested(entry.key);
            out_.append(": ");
            write_nested(entry.value);
        }
        out_.append("}");
    }

    void write_namespace(const Namespace& space) {
        out_.append("<Namespace ");
        write_dict(space.attributes);
        out_.append(">");
    }

    void write_nested(const Value& value) {
        if (depth_ == kMaxReprDepth)
            fail(ErrorKind::bad_input, "a value that contains itself cannot be printed");
        ++depth_;
        write(value);
        --depth_;
    }

    TextBuilder& out_;
    int depth_ = 0;
};

}  // namespace

void append_text(TextBuilder& out, const Value& value) {
    if (const String* string = value.get<String>()) return out.append(string->bytes);
    if (value.is_undefined()) return;
    if (value.is_none()) return out.append("None");
    if (const bool* flag = value.get<bool>()) return out.append(*flag ? "True" : "False");
    if (const auto* number = value.get<std::int64_t>()) return out.append(fmt::format_int(*number).c_str());
    if (const double* number = value.get<double>()) return out.append(real_text(*number));
    if (const auto* big = value.get<BigInteger>()) return out.append(big->digits);
    if (value.get<Generator>() != nullptr || value.get<Loop>() != nullptr)
        return out.append(fmt::format("<{} object>", type_name(value)));
    if (const Callable* callable = value.get<Callable>())
        return out.append(fmt::format("<{} {}>", callable->type_name(), callable->name()));
    append_repr(out, value);
}

void append_repr(TextBuilder& out, const Value& value) { ReprWriter(out).write(value); }

std::string to_text(Budget& budget, const Value& value) {
    TextBuilder out(budget);
    append_text(out, value);
    return std::move(out).take();
}

std::string quoted(std::string_view text) {
    const char quote = quote_for(text);
    std::string out(1, quote);
    while (!text.empty()) out += escaped(take_char(text), quote);
    return out += quote;
}

}  // namespace greenroom::text::jinja
