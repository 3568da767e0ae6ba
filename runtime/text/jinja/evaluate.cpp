// The expressions of the interpreter.

#include "quant/base/error.h"
#include "runtime/text/jinja/access.h"
#include "runtime/text/jinja/filters.h"
#include "runtime/text/jinja/functions.h"
#include "runtime/text/jinja/interpreter.h"
#include "runtime/text/jinja/iterator.h"
#include "runtime/text/jinja/operators.h"
#include "runtime/text/jinja/repr.h"
#include "runtime/text/jinja/tests.h"

#include <utility>

namespace greenroom::text::jinja {

Value Interpreter::evaluate(const ast::Expression& expression, const ScopePtr& scope) {
    const Position outer = enter(expression.line);
    Value value = std::visit([&](const auto& node) { return evaluate_node(node, scope); }, expression.node);
    leave(outer);
    return value;
}

Value Interpreter::evaluate_node(const ast::Constant& node, const ScopePtr& /*scope*/) { return node.value; }

Value Interpreter::evaluate_node(const ast::Name& node, const ScopePtr& scope) {
    // A name is looked for in each scope around, and compared with some names in each.
    budget().work((scope->level() + 1) * (node.name.size() + 8));
    if (const Value* variable = scope->find(node.name)) return *variable;
    if (const Value* variable = variables_.find(node.name)) return *variable;
    if (const Builtin* function = find_function(node.name))
        return make_function(*function, Value(), &budget());
    return rendering_.undefined(fmt::format("'{}' is undefined", node.name));
}

Value Interpreter::evaluate_node(const ast::ListLiteral& node, const ScopePtr& scope) {
    return rendering_.list(evaluate_all(node.items, scope));
}

Value Interpreter::evaluate_node(const ast::TupleLiteral& node, const ScopePtr& scope) {
    return rendering_.tuple(evaluate_all(node.items, scope));
}

Value Interpreter::evaluate_node(const ast::DictLiteral& node, const ScopePtr& scope) {
    Dict dict(&budget());
    for (const auto& [key, value] : node.entries) {
        Value evaluated_key = evaluate(*key, scope);
        dict.set(std::move(evaluated_key), evaluate(*value, scope));
    }
    return make_dict(std::move(dict));
}

Value Interpreter::evaluate_node(const ast::Unary& node, const ScopePtr& scope) {
    const Value operand = evaluate(*node.operand, scope);
    switch (node.operation) {
        case ast::UnaryOperator::minus:
            return apply_minus(rendering_, operand);
        case ast::UnaryOperator::plus:
            return apply_plus(operand);
        case ast::UnaryOperator::logical_not:
            break;
    }
    return Value::boolean(!operand.truth());
}

Value Interpreter::evaluate_node(const ast::Binary& node, const ScopePtr& scope) {
    const Value left = evaluate(*node.left, scope);
    const Value right = evaluate(*node.right, scope);
    return apply(rendering_, node.operation, left, right);
}

Value Interpreter::evaluate_node(const ast::Logical& node, const ScopePtr& scope) {
    Value left = evaluate(*node.left, scope);
    const bool decides = left.truth() == (node.operation == ast::LogicalOperator::logical_or);
    return decides ? left : evaluate(*node.right, scope);
}

Value Interpreter::evaluate_node(const ast::Concatenation& node, const ScopePtr& scope) {
    TextBuilder text(budget());
    for (const ast::ExpressionPtr& part : node.parts) append_text(text, evaluate(*part, scope));
    return rendering_.string(std::move(text).take());
}

Value Interpreter::evaluate_node(const ast::ComparisonChain& node, const ScopePtr& scope) {
    Value left = evaluate(*node.first, scope);
    for (const auto& [comparison, expression] : node.rest) {
        Value right = evaluate(*expression, scope);
        if (!compare(budget(), comparison, left, right)) return Value::boolean(false);
        left = std::move(right);
    }
    return Value::boolean(true);
}

Value Interpreter::evaluate_node(const ast::Conditional& node, const ScopePtr& scope) {
    if (evaluate(*node.test, scope).truth()) return evaluate(*node.when_true, scope);
    if (node.when_false) return evaluate(*node.when_false, scope);
    return rendering_.undefined(
        "the inline if-expression evaluated to false and no else section was defined.");
}

Value Interpreter::evaluate_node(const ast::Attribute& node, const ScopePtr& scope) {
    return get_attribute(rendering_, evaluate(*node.object, scope), node.name);
}

Value Interpreter::evaluate_node(const ast::Item& node, const ScopePtr& scope) {
    const Value object = evaluate(*node.object, scope);
    return get_item(rendering_, object, evaluate(*node.index, scope));
}

Value Interpreter::evaluate_node(const ast::Slice& node, const ScopePtr& scope) {
    const Value object = evaluate(*node.object, scope);
    const Value start = evaluate_bound(node.start, scope);
    const Value stop = evaluate_bound(node.stop, scope);
    const Value step = evaluate_bound(node.step, scope);
    return get_slice(rendering_, object, start, stop, step);
}

Value Interpreter::evaluate_bound(const ast::ExpressionPtr& bound, const ScopePtr& scope) {
    return bound ? evaluate(*bound, scope) : Value::none();
}

Value Interpreter::evaluate_node(const ast::FunctionCall& node, const ScopePtr& scope) {
    const Value callee = evaluate(*node.callee, scope);
    return call_value(rendering_, callee, evaluate_arguments(node.arguments, scope));
}

Value Interpreter::evaluate_node(const ast::Filter& node, const ScopePtr& scope) {
    const Value input = evaluate(*node.input, scope);
    return apply_filter(node.filter, input, scope);
}

Value Interpreter::apply_filter(const ast::BuiltinUse& filter, const Value& input, const ScopePtr& scope) {
    const Builtin& builtin = filter.builtin == nullptr ? require_filter(filter.name) : *filter.builtin;
    return call_builtin(rendering_, builtin, input, evaluate_arguments(filter.arguments, scope));
}

Value Interpreter::evaluate_node(const ast::Test& node, const ScopePtr& scope) {
    const ast::BuiltinUse& test = node.test;
    const Builtin& builtin = test.builtin == nullptr ? require_test(test.name) : *test.builtin;
    const Value input = evaluate(*node.input, scope);
    return call_builtin(rendering_, builtin, input, evaluate_arguments(test.arguments, scope));
}

Values Interpreter::evaluate_all(const ast::Expressions& expressions, const ScopePtr& scope) {
    Values values;
    values.reserve(expressions.size());
    for (const ast::ExpressionPtr& expression : expressions) values.push_back(evaluate(*expression, scope));
    return values;
}

CallArguments Interpreter::evaluate_arguments(const ast::Arguments& arguments, const ScopePtr& scope) {
    CallArguments evaluated;
    evaluated.positional = evaluate_all(arguments.positional, scope);
    if (arguments.more_positional) {
        Values more = to_items(rendering_, evaluate(*arguments.more_positional, scope));
        for (Value& value : more) evaluated.positional.push_back(std::move(value));
    }
    for (const auto& [name, expression] : arguments.named)
        evaluated.named.emplace_back(name, evaluate(*expression, scope));
    if (arguments.more_named) {
        const Value more = evaluate(*arguments.more_named, scope);
        const Dict* dict = more.get<Dict>();
        if (dict == nullptr) {
            fail(ErrorKind::bad_input, "argument after ** must be a mapping, not {}", type_name(more));
        }
        for (const Dict::Entry& entry : dict->entries()) {
            const std::string_view name = expect_text(entry.key, "the name of an argument");
            budget().step();
            budget().work(name.size());
            evaluated.named.emplace_back(name, entry.value);
        }
    }
    return evaluated;
}

}  // namespace greenroom::text::jinja
