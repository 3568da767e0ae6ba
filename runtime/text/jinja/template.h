#pragma once

// Template: a Jinja template as chat templates use it, parsed once, rendered any number of times.
//
// It does what jinja2 3.1 does in the environment that Hugging Face transformers renders chat templates in:
// sandboxed and immutable, trim_blocks, lstrip_blocks, break and continue, the tag `generation`,
// transformers' tojson, raise_exception and strftime_now; and the filter from_json. What jinja2 has beyond
// that and no chat template is known to use is Error{unsupported} where it is met, with its name and line.
//
// Templates are taken for hostile: time, memory, recursion and output are bounded, see Limits. const members
// may be called by any thread. They recurse: a rendering at its limits takes about 2 MiB of stack.

#include "runtime/text/jinja/rendering.h"
#include "runtime/text/jinja/value.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::text::jinja {

namespace ast {
struct Statement;
}

class Template {
  public:
    // `name` stands for the template in messages, which begin with "NAME:LINE: ". Error{bad_input} for what
    // is no template, and for one of more than 1 MiB; invalid UTF-8 is read as U+FFFD.
    Template(std::string_view source, std::string name);

    Template(Template&&) noexcept;
    Template& operator=(Template&&) noexcept;
    ~Template();

    // `variables` is a dict: the template's variables by their names. Error{bad_input} when the template
    // fails, on purpose (raise_exception: the message ends with its text) or by what it does.
    std::string render(const Value& variables, const RenderOptions& options) const;

  private:
    std::string name_;
    std::unique_ptr<const std::vector<ast::Statement>> body_;
};

}  // namespace greenroom::text::jinja
