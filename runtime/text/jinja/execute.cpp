// The statements of the interpreter.

#include "quant/base/error.h"
#include "runtime/text/jinja/interpreter.h"
#include "runtime/text/jinja/iterator.h"
#include "runtime/text/jinja/loop.h"
#include "runtime/text/jinja/repr.h"

#include <optional>
#include <utility>

namespace greenroom::text::jinja {

std::string Interpreter::run(const ast::Block& body) {
    TextBuilder out(budget());
    execute(body, make_scope(nullptr), out);
    return std::move(out).take();
}

Interpreter::ScopePtr Interpreter::make_scope(const ScopePtr& parent) {
    return std::make_shared<Scope>(parent, budget());
}

Interpreter::Position Interpreter::enter(int line) {
    budget().step();
    if (++depth_ > budget().limits().depth)
        fail(ErrorKind::bad_input,
             "calls and expressions lie too deep within one another. Does a macro call itself?");
    return {std::exchange(line_, line)};
}

void Interpreter::leave(Position outer) noexcept {
    --depth_;
    line_ = outer.line;
}

Interpreter::Flow Interpreter::execute(const ast::Block& block, const ScopePtr& scope, TextBuilder& out) {
    for (const ast::Statement& statement : block)
        if (const Flow flow = execute(statement, scope, out); flow != Flow::next) return flow;
    return Flow::next;
}

Interpreter::Flow Interpreter::execute(const ast::Statement& statement, const ScopePtr& scope,
                                       TextBuilder& out) {
    const Position outer = enter(statement.line);
    const Flow flow =
        std::visit([&](const auto& node) { return execute_node(node, scope, out); }, statement.node);
    leave(outer);
    return flow;
}

Interpreter::Flow Interpreter::execute_node(const ast::Text& node, const ScopePtr& /*scope*/,
                                            TextBuilder& out) {
    out.append(node.text);
    return Flow::next;
}

Interpreter::Flow Interpreter::execute_node(const ast::Print& node, const ScopePtr& scope, TextBuilder& out) {
    append_text(out, evaluate(*node.value, scope));
    return Flow::next;
}

Interpreter::Flow Interpreter::execute_node(const ast::If& node, const ScopePtr& scope, TextBuilder& out) {
    for (const ast::If::Branch& branch : node.branches)
        if (evaluate(*branch.test, scope).truth()) return execute(branch.body, scope, out);
    return execute(node.otherwise, scope, out);
}

Interpreter::Flow Interpreter::execute_node(const ast::For& node, const ScopePtr& scope, TextBuilder& out) {
    run_loop(node, scope, evaluate(*node.iterable, scope), 0, out);
    return Flow::next;
}

void Interpreter::run_loop(const ast::For& node, const ScopePtr& scope, const Value& iterable, int depth,
                           TextBuilder& out) {
    const auto pull = [this, &node, scope, elements = Iterator(rendering_, iterable)]() mutable {
        std::optional<Value> element = elements.next();
        while (element && !is_wanted(node, scope, *element)) element = elements.next();
        return element;
    };
    const auto recurse = [this, &node, scope, depth](const Value& inner) {
        TextBuilder text(budget());
        run_loop(node, scope, inner, depth + 1, text);
        return rendering_.string(std::move(text).take());
    };
    const auto loop = std::make_shared<Loop>(
        rendering_, pull, node.is_recursive ? Loop::Recurse(recurse) : Loop::Recurse(), depth);
    const auto finish = [](Loop* finished) { finished->finish(); };
    const std::unique_ptr<Loop, decltype(finish)> guard(loop.get(), finish);

    // jinja2 takes `else` also where every round was cut short.
    bool completed_a_round = false;
    while (loop->advance()) {
        const ScopePtr round = make_scope(scope);
        round->set("loop", Value(loop));
        assign(node.target, *round, loop->current());
        const Flow flow = execute(node.body, round, out);
        if (flow == Flow::break_loop) break;
        completed_a_round |= flow == Flow::next;
    }
    if (!completed_a_round) execute(node.otherwise, make_scope(scope), out);
}

bool Interpreter::is_wanted(const ast::For& node, const ScopePtr& scope, const Value& element) {
    if (!node.condition) return true;
    const ScopePtr condition_scope = make_scope(scope);
    condition_scope->set("loop", Value::undefined("'loop' is undefined in the condition of its own loop"));
    assign(node.target, *condition_scope, element);
    return evaluate(*node.condition, condition_scope).truth();
}

Interpreter::Flow Interpreter::execute_node(const ast::Break& /*node*/, const ScopePtr& /*scope*/,
                                            TextBuilder& /*out*/) {
    return Flow::break_loop;
}

Interpreter::Flow Interpreter::execute_node(const ast::Continue& /*node*/, const ScopePtr& /*scope*/,
                                            TextBuilder& /*out*/) {
    return Flow::continue_loop;
}

Interpreter::Flow Interpreter::execute_node(const ast::Set& node, const ScopePtr& scope,
                                            TextBuilder& /*out*/) {
    assign(node.target, *scope, evaluate(*node.value, scope));
    return Flow::next;
}

Interpreter::Flow Interpreter::execute_node(const ast::SetBlock& node, const ScopePtr& scope,
                                            TextBuilder& /*out*/) {
    assign(node.target, *scope, collect(node.body, scope, node.filters));
    return Flow::next;
}

Interpreter::Flow Interpreter::execute_node(const ast::FilterBlock& node, const ScopePtr& scope,
                                            TextBuilder& out) {
    append_text(out, collect(node.body, scope, node.filters));
    return Flow::next;
}

Interpreter::Flow Interpreter::execute_node(const ast::With& node, const ScopePtr& scope, TextBuilder& out) {
    const ScopePtr inner = make_scope(scope);
    for (const auto& [target, value] : node.variables) assign(target, *inner, evaluate(*value, scope));
    return execute(node.body, inner, out);
}

Interpreter::Flow Interpreter::execute_node(const ast::Scoped& node, const ScopePtr& scope,
                                            TextBuilder& out) {
    return execute(node.body, make_scope(scope), out);
}

Interpreter::Flow Interpreter::execute_node(const ast::MacroDefinition& node, const ScopePtr& scope,
                                            TextBuilder& /*out*/) {
    scope->set(node.name, make_macro(node, scope));
    return Flow::next;
}

Interpreter::Flow Interpreter::execute_node(const ast::CallBlock& node, const ScopePtr& scope,
                                            TextBuilder& out) {
    const auto& call = std::get<ast::FunctionCall>(node.call->node);
    const Value callee = evaluate(*call.callee, scope);
    CallArguments arguments = evaluate_arguments(call.arguments, scope);
    arguments.named.emplace_back("caller", make_macro(node.caller, scope));
    append_text(out, call_value(rendering_, callee, std::move(arguments)));
    return Flow::next;
}

void Interpreter::assign(const ast::Target& target, Scope& scope, const Value& value) {
    switch (target.kind) {
        case ast::Target::Kind::name:
            return scope.set(target.name, value);
        case ast::Target::Kind::tuple:
            return unpack(target, scope, value);
        case ast::Target::Kind::attribute:
            break;
    }
    const Value* variable = scope.find(target.name);
    Namespace* space = variable == nullptr ? nullptr : variable->get<Namespace>();
    if (space == nullptr)
        fail(ErrorKind::bad_input, "cannot assign attribute on non-namespace object '{}'", target.name);
    expect_public_name(target.attribute);
    space->attributes.set(target.attribute, value);
}

void Interpreter::unpack(const ast::Target& target, Scope& scope, const Value& value) {
    Iterator elements(rendering_, value);
    for (std::size_t i = 0; i < target.parts.size(); ++i) {
        const std::optional<Value> element = elements.next();
        if (!element) {
            fail(ErrorKind::bad_input, "not enough values to unpack (expected {}, got {})",
                 target.parts.size(), i);
        }
        assign(target.parts[i], scope, *element);
    }
    if (elements.next())
        fail(ErrorKind::bad_input, "too many values to unpack (expected {})", target.parts.size());
}

Value Interpreter::collect(const ast::Block& body, const ScopePtr& scope,
                           const std::vector<ast::BuiltinUse>& filters) {
    const ScopePtr inner = make_scope(scope);
    TextBuilder text(budget());
    execute(body, inner, text);
    Value value = rendering_.string(std::move(text).take());
    for (const ast::BuiltinUse& filter : filters) value = apply_filter(filter, value, inner);
    return value;
}

}  // namespace greenroom::text::jinja
