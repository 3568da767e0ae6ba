// The macros of the interpreter, and the bodies of {% call %}, which are macros without a name of their own.

#include "quant/base/error.h"
#include "runtime/text/jinja/interpreter.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

namespace greenroom::text::jinja {

// Must not outlive its interpreter.
class Macro : public Callable {
  public:
    Macro(Interpreter& interpreter, const ast::MacroDefinition& definition, std::shared_ptr<Scope> defined_in)
        : interpreter_(interpreter),
          definition_(definition),
          defined_in_(std::move(defined_in)),
          share_(&interpreter.budget(), sizeof *this) {}

    Value call(Rendering& /*rendering*/, CallArguments arguments) const override {
        return interpreter_.call_macro(definition_, defined_in_, std::move(arguments));
    }
    std::string_view name() const noexcept override { return definition_.name; }
    std::string_view type_name() const noexcept override { return "Macro"; }

  private:
    Interpreter& interpreter_;
    const ast::MacroDefinition& definition_;
    std::shared_ptr<Scope> defined_in_;  // see Scope: who owns it
    Share share_;
};

Value Interpreter::make_macro(const ast::MacroDefinition& definition, const ScopePtr& scope) {
    rendering_.keep(scope);
    return Value(std::shared_ptr<const Callable>(std::make_shared<const Macro>(*this, definition, scope)));
}

Value Interpreter::call_macro(const ast::MacroDefinition& macro, const ScopePtr& defined_in,
                              CallArguments arguments) {
    const ScopePtr scope = make_scope(defined_in);
    bind_arguments(macro, scope, arguments);
    TextBuilder text(budget());
    execute(macro.body, scope, text);
    return rendering_.string(std::move(text).take());
}

void Interpreter::bind_arguments(const ast::MacroDefinition& macro, const ScopePtr& scope,
                                 CallArguments& arguments) {
    Values& positional = arguments.positional;
    auto& named = arguments.named;
    const auto take_named = [&](std::string_view name) {
        const auto found =
            std::find_if(named.begin(), named.end(), [&](const auto& one) { return one.first == name; });
        if (found == named.end()) return std::optional<Value>();
        std::optional<Value> value = std::move(found->second);
        named.erase(found);
        return value;
    };

    // First all that was given: a default may name any parameter.
    std::vector<const ast::MacroDefinition::Parameter*> missing;
    for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
        const auto& parameter = macro.parameters[i];
        std::optional<Value> value =
            i < positional.size() ? std::optional(std::move(positional[i])) : take_named(parameter.name);
        if (!value) {
            missing.push_back(&parameter);
            value = rendering_.undefined(fmt::format("parameter '{}' was not provided", parameter.name));
        }
        scope->set(parameter.name, *std::move(value));
    }
    for (const auto* parameter : missing)
        if (parameter->otherwise) scope->set(parameter->name, evaluate(*parameter->otherwise, scope));

    if (macro.uses_caller)
        scope->set("caller", take_named("caller").value_or(Value::undefined("No caller defined")));
    if (macro.uses_kwargs) {
        Dict rest(&budget());
        for (auto& [name, value] : named) rest.set(name, std::move(value));
        scope->set("kwargs", make_dict(std::move(rest)));
    } else if (!named.empty()) {
        fail(ErrorKind::bad_input, "macro '{}' takes no keyword argument '{}'", macro.name,
             named.front().first);
    }
    const std::size_t n_bound = std::min(positional.size(), macro.parameters.size());
    Values rest(std::make_move_iterator(positional.begin() + static_cast<std::ptrdiff_t>(n_bound)),
                std::make_move_iterator(positional.end()));
    if (macro.uses_varargs) {
        scope->set("varargs", rendering_.tuple(std::move(rest)));
    } else if (!rest.empty()) {
        fail(ErrorKind::bad_input, "macro '{}' takes not more than {} argument(s)", macro.name,
             macro.parameters.size());
    }
}

}  // namespace greenroom::text::jinja
