#include "runtime/text/jinja/filters.h"

#include "quant/base/error.h"

#include <array>

namespace greenroom::text::jinja {
namespace {

Value unsupported(Call& call) {
    fail(ErrorKind::unsupported, "the filter '{}' is not supported", call.name());
}

// What jinja2 has and no chat template is known to use.
constexpr std::array<Builtin, 13> kUnsupportedFilters = {{
    {"attr", "*", unsupported},
    {"filesizeformat", "*", unsupported},
    {"groupby", "*", unsupported},
    {"pprint", "*", unsupported},
    {"random", "*", unsupported},
    {"striptags", "*", unsupported},
    {"truncate", "*", unsupported},
    {"urlencode", "*", unsupported},
    {"urlize", "*", unsupported},
    {"wordcount", "*", unsupported},
    {"wordwrap", "*", unsupported},
    {"xmlattr", "*", unsupported},
    {"slice", "*", unsupported},
}};

}  // namespace

const Builtin* find_filter(std::string_view name) noexcept {
    for (const std::span<const Builtin> table :
         {text_filters(), value_filters(), sequence_filters(), order_filters(),
          std::span<const Builtin>(kUnsupportedFilters)})
        if (const Builtin* filter = find_builtin(table, name)) return filter;
    return nullptr;
}

const Builtin& require_filter(std::string_view name) {
    const Builtin* filter = find_filter(name);
    if (filter == nullptr) fail(ErrorKind::bad_input, "No filter named '{}'.", name);
    return *filter;
}

}  // namespace greenroom::text::jinja
