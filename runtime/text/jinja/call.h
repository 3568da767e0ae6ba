#pragma once

// Calls: how arguments reach filters, tests, methods, functions and macros.
//
// What is ours is a Builtin in a table: a name, its parameters, a function that gets the arguments bound to
// them.

#include "runtime/text/jinja/rendering.h"
#include "runtime/text/jinja/value.h"

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace greenroom::text::jinja {

struct CallArguments {
    Values positional;
    std::vector<std::pair<std::string, Value>> named;
};

// A value that can be called.
class Callable {
  public:
    virtual ~Callable() = default;

    virtual Value call(Rendering& rendering, CallArguments arguments) const = 0;
    virtual std::string_view name() const noexcept = 0;
    virtual std::string_view type_name() const noexcept { return "function"; }
    // See nesting() in value.h.
    virtual int nesting() const noexcept { return 0; }
};

class Call;

struct Builtin {
    std::string_view name;
    // Names with a blank between; '?' follows those that may be left out. "*": any arguments, unbound.
    std::string_view parameters;
    Value (*apply)(Call& call);
};

// nullptr: not in the table.
const Builtin* find_builtin(std::span<const Builtin> table, std::string_view name) noexcept;

// One call of a Builtin.
class Call {
  public:
    // `self` is a filter's input, a test's subject, a method's object. Error{bad_input} when the arguments
    // don't fit the parameters.
    Call(Rendering& rendering, const Builtin& builtin, const Value& self, const CallArguments& arguments);

    Rendering& rendering() const noexcept { return rendering_; }
    Budget& budget() const noexcept { return rendering_.budget(); }
    std::string_view name() const noexcept { return builtin_.name; }
    const Value& self() const noexcept { return self_; }
    // As they were written; for parameters "*".
    const CallArguments& arguments() const noexcept { return arguments_; }

    // By the parameter's place. get() of one that was left out is undefined, find() of it is nullptr.
    const Value* find(std::size_t parameter) const { return bound_.at(parameter); }
    const Value& get(std::size_t parameter) const;
    // nullptr for none too, which says "the default" where Python's default is None.
    const Value* find_given(std::size_t parameter) const;

    // The values that most functions want, with what counts if the argument was left out. Error{bad_input}
    // for another type.
    std::int64_t integer(std::size_t parameter, std::int64_t otherwise) const;
    bool truth(std::size_t parameter, bool otherwise) const;
    std::string_view text(std::size_t parameter, std::string_view otherwise = {}) const;

    // The object as a string; what a filter takes for one: Python's str() of it.
    const String& self_string() const;
    std::string self_text() const;

  private:
    static constexpr std::size_t kMaxParameters = 6;

    void bind();
    [[noreturn]] void fail_argument(std::size_t parameter, std::string_view expected) const;

    Rendering& rendering_;
    const Builtin& builtin_;
    const Value& self_;
    const CallArguments& arguments_;
    std::array<const Value*, kMaxParameters> bound_{};
};

Value call_builtin(Rendering& rendering, const Builtin& builtin, const Value& self,
                   const CallArguments& arguments);

// A function, or a method of an object, as a value.
Value make_function(const Builtin& builtin, const Value& self, Budget* budget);

// Calls any value. Error{bad_input} if it is none that can be called.
Value call_value(Rendering& rendering, const Value& callee, CallArguments arguments);

}  // namespace greenroom::text::jinja
