#include "quant/base/error.h"
#include "runtime/text/jinja/code_points.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/json.h"
#include "runtime/text/jinja/numbers.h"
#include "runtime/text/jinja/operators.h"
#include "runtime/text/jinja/repr.h"

#include <algorithm>
#include <cmath>

namespace greenroom::text::jinja {
namespace {

class JsonWriter {
  public:
    JsonWriter(Budget& budget, const JsonStyle& style) : budget_(budget), style_(style), out_(budget) {}

    void write(const Value& value) {
        budget_.step();
        if (const String* string = value.get<String>())
            write_string(string->bytes);
        else if (value.is_none())
            out_.append("null");
        else if (is_number(value))
            out_.append(number_text(value));
        else if (const Dict* dict = value.get<Dict>())
            write_object(*dict);
        else if (const Sequence* array = as_array(value))
            write_array(*array);
        else
            fail(ErrorKind::bad_input, "Object of type {} is not JSON serializable", type_name(value));
    }

    std::string take() && { return std::move(out_).take(); }

  private:
    static const Sequence* as_array(const Value& value) {
        const Sequence* sequence = value.get<Sequence>();
        const bool is_array = sequence != nullptr &&
                              (sequence->kind == SequenceKind::list || sequence->kind == SequenceKind::tuple);
        return is_array ? sequence : nullptr;
    }

    std::string number_text(const Value& number) const {
        if (const bool* flag = number.get<bool>()) return *flag ? "true" : "false";
        if (const double* real = number.get<double>(); real != nullptr && !std::isfinite(*real))
            return std::isnan(*real) ? "NaN" : *real > 0 ? "Infinity" : "-Infinity";
        return to_text(budget_, number);
    }

    void write_object(const Dict& dict) {
        if (dict.size() == 0) return out_.append("{}");
        std::vector<const Dict::Entry*> entries;
        for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
        if (style_.sorts_keys) {
            std::stable_sort(entries.begin(), entries.end(),
                             [this](const Dict::Entry* a, const Dict::Entry* b) {
                                 return compare(budget_, Comparison::less, a->key, b->key);
                             });
        }
        open("{");
        bool is_first = true;
        for (const Dict::Entry* entry : entries) {
            begin_item(is_first);
            write_key(entry->key);
            out_.append(style_.key_separator);
            write(entry->value);
        }
        close("}");
    }

    void write_array(const Sequence& array) {
        if (array.items.empty()) return out_.append("[]");
        open("[");
        bool is_first = true;
        for (const Value& item : array.items) {
            begin_item(is_first);
            write(item);
        }
        close("]");
    }

    void write_key(const Value& key) {
        if (const String* string = key.get<String>()) return write_string(string->bytes);
        if (key.is_none()) return write_string("null");
        if (is_number(key)) return write_string(number_text(key));
        fail(ErrorKind::bad_input, "keys must be str, int, float, bool or None, not {}", type_name(key));
    }

    void open(std::string_view bracket) {
        out_.append(bracket);
        ++level_;
        break_line();
    }

    void begin_item(bool& is_first) {
        if (!is_first) {
            out_.append(style_.item_separator);
            break_line();
        }
        is_first = false;
    }

    void close(std::string_view bracket) {
        --level_;
        break_line();
        out_.append(bracket);
    }

    void break_line() {
        if (!style_.indent) return;
        out_.append("\n");
        out_.append(level_, *style_.indent);
    }

    void write_string(std::string_view text) {
        out_.append("\"");
        while (!text.empty()) {
            const std::size_t n_plain = style_.escapes_non_ascii ? plain_ascii(text) : plain(text);
            out_.append(text.substr(0, n_plain));
            text.remove_prefix(n_plain);
            if (!text.empty()) write_escape(take_code_point(text));
        }
        out_.append("\"");
    }

    static bool needs_escape(char c) noexcept {
        return static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\';
    }

    // How many bytes at the front are written as they are.
    static std::size_t plain(std::string_view text) noexcept {
        const auto* const end = std::find_if(text.begin(), text.end(), needs_escape);
        return static_cast<std::size_t>(end - text.begin());
    }
    static std::size_t plain_ascii(std::string_view text) noexcept {
        const auto* const end = std::find_if(text.begin(), text.end(), [](char c) {
            return needs_escape(c) || static_cast<unsigned char>(c) >= 0x7F;
        });
        return static_cast<std::size_t>(end - text.begin());
    }

    void write_escape(char32_t c) {
        static constexpr std::string_view kNamed = "\"\\\b\f\n\r\t";
        static constexpr std::string_view kNames = "\"\\bfnrt";
        const std::size_t named = c < 0x80 ? kNamed.find(static_cast<char>(c)) : kNamed.npos;
        const auto code = static_cast<std::uint32_t>(c);
        if (named != kNamed.npos) {
            out_.append(std::string("\\") + kNames[named]);
        } else if (code < 0x10000) {
            out_.append(fmt::format("\\u{:04x}", code));
        } else {
            const std::uint32_t bits = code - 0x10000;
            out_.append(fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (bits >> 10), 0xDC00 + (bits & 0x3FF)));
        }
    }

    Budget& budget_;
    const JsonStyle& style_;
    TextBuilder out_;
    int level_ = 0;
};

}  // namespace

Value write_json(Budget& budget, const Value& value, const JsonStyle& style) {
    JsonWriter writer(budget, style);
    writer.write(value);
    return make_string(std::move(writer).take(), &budget);
}

}  // namespace greenroom::text::jinja
