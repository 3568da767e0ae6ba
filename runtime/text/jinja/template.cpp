#include "runtime/text/jinja/template.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/code_points.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/interpreter.h"
#include "runtime/text/jinja/parser.h"
#include "runtime/text/utf8.h"

namespace greenroom::text::jinja {
namespace {

// Some thirty times what the longest known chat template has. A tree takes up to a hundred times the bytes of
// its source.
constexpr std::size_t kMaxSourceBytes = std::size_t{1} << 20;

std::string checked_source(std::string_view source, std::string_view name) {
    if (source.size() > kMaxSourceBytes) {
        fail(ErrorKind::bad_input, "{}: the template has {} bytes; the most that are read are {}", name,
             source.size(), kMaxSourceBytes);
    }
    return replace_invalid_utf8(source);
}

// A template can raise an exception with any text.
std::string_view shortened(std::string_view message) {
    constexpr std::size_t kMaxBytes = 16384;
    if (message.size() <= kMaxBytes) return message;
    message = message.substr(0, kMaxBytes);
    take_last_char(message);  // which may have been cut
    return message;
}

}  // namespace

Template::Template(std::string_view source, std::string name)
    : name_(std::move(name)),
      body_(std::make_unique<const ast::Block>(parse_template(checked_source(source, name_), name_))) {}

Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

std::string Template::render(const Value& variables, const RenderOptions& options) const {
    const Dict* dict = variables.get<Dict>();
    if (dict == nullptr) {
        fail(ErrorKind::bad_input, "{}: the variables are {}; expected an object of them", name_,
             type_name(variables));
    }
    Interpreter interpreter(*dict, options);
    try {
        return interpreter.run(*body_);
    } catch (const Error& error) {
        throw Error(error.kind(),
                    fmt::format("{}:{}: {}", name_, interpreter.line(), shortened(error.what())));
    }
}

}  // namespace greenroom::text::jinja
