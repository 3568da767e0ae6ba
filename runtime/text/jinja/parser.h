#pragma once

// The parser: a template's source to its syntax tree.

#include "runtime/text/jinja/ast.h"

#include <string_view>

namespace greenroom::text::jinja {

// The source must be UTF-8. Error{bad_input} for what is no template, {unsupported} for a tag that jinja2 has
// and we don't; messages begin with "NAME:LINE: ".
ast::Block parse_template(std::string_view source, std::string_view name);

}  // namespace greenroom::text::jinja
