#include "runtime/text/jinja/call.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/loop.h"
#include "runtime/text/jinja/numbers.h"
#include "runtime/text/jinja/repr.h"

#include <algorithm>

namespace greenroom::text::jinja {
namespace {

struct Parameter {
    std::string_view name;
    bool is_optional;
};

// Takes the first one from a Builtin's list.
Parameter take_parameter(std::string_view& parameters) {
    const std::string_view word = parameters.substr(0, parameters.find(' '));
    parameters.remove_prefix(std::min(word.size() + 1, parameters.size()));
    const bool is_optional = word.ends_with('?');
    return {word.substr(0, word.size() - (is_optional ? 1 : 0)), is_optional};
}

class Function : public Callable {
  public:
    Function(const Builtin& builtin, Value self, Budget* budget)
        : builtin_(builtin),
          self_(std::move(self)),
          nesting_(nesting_around(jinja::nesting(self_))),
          share_(budget, sizeof *this) {}

    Value call(Rendering& rendering, CallArguments arguments) const override {
        return call_builtin(rendering, builtin_, self_, arguments);
    }
    std::string_view name() const noexcept override { return builtin_.name; }
    std::string_view type_name() const noexcept override { return "builtin_function_or_method"; }
    int nesting() const noexcept override { return nesting_; }

  private:
    const Builtin& builtin_;
    Value self_;
    int nesting_;
    Share share_;
};

}  // namespace

const Builtin* find_builtin(std::span<const Builtin> table, std::string_view name) noexcept {
    const auto found = std::find_if(table.begin(), table.end(),
                                    [&](const Builtin& builtin) { return builtin.name == name; });
    return found == table.end() ? nullptr : &*found;
}

Call::Call(Rendering& rendering, const Builtin& builtin, const Value& self, const CallArguments& arguments)
    : rendering_(rendering), builtin_(builtin), self_(self), arguments_(arguments) {
    if (builtin.parameters != "*") bind();
}

void Call::bind() {
    std::string_view parameters = builtin_.parameters;
    std::size_t n_parameters = 0;
    std::size_t n_named = 0;
    for (; !parameters.empty(); ++n_parameters) {
        const auto [name, is_optional] = take_parameter(parameters);
        const Value*& bound = bound_.at(n_parameters);
        if (n_parameters < arguments_.positional.size()) bound = &arguments_.positional[n_parameters];
        for (const auto& [given, value] : arguments_.named) {
            if (given != name) continue;
            if (bound != nullptr)
                fail(ErrorKind::bad_input, "{}() got multiple values for argument '{}'", builtin_.name, name);
            bound = &value;
            ++n_named;
        }
        if (bound == nullptr && !is_optional)
            fail(ErrorKind::bad_input, "{}() lacks its argument '{}'", builtin_.name, name);
    }
    if (arguments_.positional.size() > n_parameters)
        fail(ErrorKind::bad_input, "{}() takes at most {} arguments; {} were given", builtin_.name,
             n_parameters, arguments_.positional.size());
    if (arguments_.named.size() > n_named)
        fail(ErrorKind::bad_input, "{}() got an argument that it does not take by name: '{}'", builtin_.name,
             arguments_.named.front().first);
}

const Value& Call::get(std::size_t parameter) const {
    static const Value kLeftOut;
    const Value* value = find(parameter);
    return value == nullptr ? kLeftOut : *value;
}

std::int64_t Call::integer(std::size_t parameter, std::int64_t otherwise) const {
    const Value* value = find(parameter);
    if (value == nullptr) return otherwise;
    const auto integer = as_integer(*value);
    if (!integer) fail_argument(parameter, "int");
    return *integer;
}

const Value* Call::find_given(std::size_t parameter) const {
    const Value* value = find(parameter);
    return value == nullptr || value->is_none() ? nullptr : value;
}

bool Call::truth(std::size_t parameter, bool otherwise) const {
    const Value* value = find(parameter);
    return value == nullptr ? otherwise : value->truth();
}

std::string_view Call::text(std::size_t parameter, std::string_view otherwise) const {
    const Value* value = find(parameter);
    if (value == nullptr) return otherwise;
    const String* string = value->get<String>();
    if (string == nullptr) fail_argument(parameter, "str");
    return string->bytes;
}

const String& Call::self_string() const {
    const String* string = self_.get<String>();
    GR_CHECK(string != nullptr);
    return *string;
}

std::string Call::self_text() const { return to_text(budget(), self_); }

void Call::fail_argument(std::size_t parameter, std::string_view expected) const {
    std::string_view parameters = builtin_.parameters;
    Parameter wrong = take_parameter(parameters);
    for (std::size_t i = 0; i < parameter; ++i) wrong = take_parameter(parameters);
    fail(ErrorKind::bad_input, "{}(): the argument '{}' must be {}, not {}", builtin_.name, wrong.name,
         expected, jinja::type_name(get(parameter)));
}

Value call_builtin(Rendering& rendering, const Builtin& builtin, const Value& self,
                   const CallArguments& arguments) {
    rendering.budget().step();
    Call call(rendering, builtin, self, arguments);
    return builtin.apply(call);
}

Value make_function(const Builtin& builtin, const Value& self, Budget* budget) {
    return Value(std::shared_ptr<const Callable>(std::make_shared<const Function>(builtin, self, budget)));
}

Value call_value(Rendering& rendering, const Value& callee, CallArguments arguments) {
    if (const Callable* callable = callee.get<Callable>())
        return callable->call(rendering, std::move(arguments));
    if (Loop* loop = callee.get<Loop>()) return loop->recurse(arguments);
    expect_defined(callee);
    fail(ErrorKind::bad_input, "'{}' object is not callable", type_name(callee));
}

}  // namespace greenroom::text::jinja
