#include "runtime/text/jinja/iterator.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/code_points.h"
#include "runtime/text/jinja/dict.h"

#include <utility>

namespace greenroom::text::jinja {

bool is_iterable(const Value& value) noexcept {
    return value.is_undefined() || value.is_string() || value.get<Sequence>() != nullptr ||
           value.get<Dict>() != nullptr || value.get<Generator>() != nullptr || value.get<Loop>() != nullptr;
}

Iterator::Iterator(Rendering& rendering, Value source) : rendering_(rendering), source_(std::move(source)) {
    if (source_.get<Loop>() != nullptr)
        fail(ErrorKind::unsupported, "going through the variable 'loop' itself is not supported");
    if (!is_iterable(source_)) fail(ErrorKind::bad_input, "'{}' object is not iterable", type_name(source_));
}

std::optional<Value> Iterator::next() {
    rendering_.budget().step();
    if (const Sequence* sequence = source_.get<Sequence>()) {
        if (at_ == sequence->items.size()) return std::nullopt;
        return sequence->items[at_++];
    }
    if (const Dict* dict = source_.get<Dict>()) {
        if (at_ == dict->size()) return std::nullopt;
        return dict->entries()[at_++].key;
    }
    if (Generator* generator = source_.get<Generator>()) {
        if (generator->next == generator->items.size()) return std::nullopt;
        return std::exchange(generator->items[generator->next++], Value());
    }
    if (const String* string = source_.get<String>(); string != nullptr && at_ < string->bytes.size()) {
        std::string_view rest = std::string_view(string->bytes).substr(at_);
        const std::string_view one_char = take_char(rest);
        at_ += one_char.size();
        return rendering_.string(std::string(one_char));
    }
    return std::nullopt;
}

Values to_items(Rendering& rendering, const Value& value) {
    Values items;
    Iterator iterator(rendering, value);
    while (std::optional<Value> item = iterator.next()) items.push_back(*std::move(item));
    return items;
}

std::int64_t length(const Value& value) {
    if (value.is_undefined()) return 0;
    if (const String* string = value.get<String>()) return string->n_chars;
    if (const Sequence* sequence = value.get<Sequence>())
        return static_cast<std::int64_t>(sequence->items.size());
    if (const Dict* dict = value.get<Dict>()) return static_cast<std::int64_t>(dict->size());
    fail(ErrorKind::bad_input, "object of type '{}' has no len()", type_name(value));
}

}  // namespace greenroom::text::jinja
