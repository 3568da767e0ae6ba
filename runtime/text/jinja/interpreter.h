#pragma once

// Interpreter: walks the tree of a template, once, for one rendering.
//
// Scopes are as jinja2's: `if` has none; a round of a loop, a macro's call and a block whose text is
// collected each have their own, and what is set in one is not seen outside. A macro sees the scope it was
// defined in, as it is when the macro is called.

#include "runtime/text/jinja/ast.h"
#include "runtime/text/jinja/call.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/rendering.h"
#include "runtime/text/jinja/scope.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace greenroom::text::jinja {

class Interpreter {
  public:
    // `variables` must outlive it.
    Interpreter(const Dict& variables, const RenderOptions& options)
        : rendering_(options), variables_(variables) {}

    // The text of the template. Not to be called again, whether it returned or threw.
    std::string run(const ast::Block& body);

    // Where it is in the template; after an error, where that happened.
    int line() const noexcept { return line_; }

  private:
    friend class Macro;
    using ScopePtr = std::shared_ptr<Scope>;

    // How a statement was left.
    enum class Flow : std::uint8_t { next, break_loop, continue_loop };

    Flow execute(const ast::Block& block, const ScopePtr& scope, TextBuilder& out);
    Flow execute(const ast::Statement& statement, const ScopePtr& scope, TextBuilder& out);
    Flow execute_node(const ast::Text& node, const ScopePtr& scope, TextBuilder& out);
    Flow execute_node(const ast::Print& node, const ScopePtr& scope, TextBuilder& out);
    Flow execute_node(const ast::If& node, const ScopePtr& scope, TextBuilder& out);
    Flow execute_node(const ast::For& node, const ScopePtr& scope, TextBuilder& out);
    Flow execute_node(const ast::Break& node, const ScopePtr& scope, TextBuilder& out);
    Flow execute_node(const ast::Continue& node, const ScopePtr& scope, TextBuilder& out);
    Flow execute_node(const ast::Set& node, const ScopePtr& scope, TextBuilder& out);
    Flow execute_node(const ast::SetBlock& node, const ScopePtr& scope, TextBuilder& out);
    Flow execute_node(const ast::FilterBlock& node, const ScopePtr& scope, TextBuilder& out);
    Flow execute_node(const ast::With& node, const ScopePtr& scope, TextBuilder& out);
    Flow execute_node(const ast::Scoped& node, const ScopePtr& scope, TextBuilder& out);
    Flow execute_node(const ast::MacroDefinition& node, const ScopePtr& scope, TextBuilder& out);
    Flow execute_node(const ast::CallBlock& node, const ScopePtr& scope, TextBuilder& out);

    // `depth` counts the rounds of the same recursive statement around this one.
    void run_loop(const ast::For& node, const ScopePtr& scope, const Value& iterable, int depth,
                  TextBuilder& out);
    bool is_wanted(const ast::For& node, const ScopePtr& scope, const Value& element);
    void assign(const ast::Target& target, Scope& scope, const Value& value);
    void unpack(const ast::Target& target, Scope& scope, const Value& value);
    // The text that a body makes in a scope of its own, through filters.
    Value collect(const ast::Block& body, const ScopePtr& scope, const std::vector<ast::BuiltinUse>& filters);

    Value make_macro(const ast::MacroDefinition& definition, const ScopePtr& scope);
    Value call_macro(const ast::MacroDefinition& macro, const ScopePtr& defined_in, CallArguments arguments);
    void bind_arguments(const ast::MacroDefinition& macro, const ScopePtr& scope, CallArguments& arguments);

    Value evaluate(const ast::Expression& expression, const ScopePtr& scope);
    Value evaluate_node(const ast::Constant& node, const ScopePtr& scope);
    Value evaluate_node(const ast::Name& node, const ScopePtr& scope);
    Value evaluate_node(const ast::ListLiteral& node, const ScopePtr& scope);
    Value evaluate_node(const ast::TupleLiteral& node, const ScopePtr& scope);
    Value evaluate_node(const ast::DictLiteral& node, const ScopePtr& scope);
    Value evaluate_node(const ast::Unary& node, const ScopePtr& scope);
    Value evaluate_node(const ast::Binary& node, const ScopePtr& scope);
    Value evaluate_node(const ast::Logical& node, const ScopePtr& scope);
    Value evaluate_node(const ast::Concatenation& node, const ScopePtr& scope);
    Value evaluate_node(const ast::ComparisonChain& node, const ScopePtr& scope);
    Value evaluate_node(const ast::Conditional& node, const ScopePtr& scope);
    Value evaluate_node(const ast::Attribute& node, const ScopePtr& scope);
    Value evaluate_node(const ast::Item& node, const ScopePtr& scope);
    Value evaluate_node(const ast::Slice& node, const ScopePtr& scope);
    Value evaluate_node(const ast::FunctionCall& node, const ScopePtr& scope);
    Value evaluate_node(const ast::Filter& node, const ScopePtr& scope);
    Value evaluate_node(const ast::Test& node, const ScopePtr& scope);

    Values evaluate_all(const ast::Expressions& expressions, const ScopePtr& scope);
    Value evaluate_bound(const ast::ExpressionPtr& bound, const ScopePtr& scope);
    CallArguments evaluate_arguments(const ast::Arguments& arguments, const ScopePtr& scope);
    Value apply_filter(const ast::BuiltinUse& filter, const Value& input, const ScopePtr& scope);

    Budget& budget() noexcept { return rendering_.budget(); }
    ScopePtr make_scope(const ScopePtr& parent);

    // Around each node. Neither is undone when an exception passes: nothing is evaluated after it, and the
    // line is what it is told with.
    struct Position {
        int line;
    };
    Position enter(int line);
    void leave(Position outer) noexcept;

    Rendering rendering_;  // first: all values belong to it
    const Dict& variables_;
    int line_ = 1;
    int depth_ = 0;
};

}  // namespace greenroom::text::jinja
