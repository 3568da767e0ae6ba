#pragma once

// The syntax tree of a template. Immutable once parsed; any number of renderings may walk it at once.

#include "runtime/text/jinja/call.h"
#include "runtime/text/jinja/numbers.h"
#include "runtime/text/jinja/operators.h"
#include "runtime/text/jinja/value.h"

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace greenroom::text::jinja::ast {

struct Expression;
struct Statement;

using ExpressionPtr = std::unique_ptr<const Expression>;
using Expressions = std::vector<ExpressionPtr>;
using Block = std::vector<Statement>;

// What stands in the brackets of a call, a filter or a test.
struct Arguments {
    Expressions positional;
    std::vector<std::pair<std::string, ExpressionPtr>> named;
    ExpressionPtr more_positional;  // *expression; may be null
    ExpressionPtr more_named;       // **expression; may be null
};

// name(arguments) of a filter or test. Names that nobody knows are errors only where they are used.
struct BuiltinUse {
    std::string name;
    const Builtin* builtin;  // nullptr: unknown
    Arguments arguments;
};

struct Constant {
    Value value;
};
struct Name {
    std::string name;
};
struct ListLiteral {
    Expressions items;
};
struct TupleLiteral {
    Expressions items;
};
struct DictLiteral {
    std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};
enum class UnaryOperator : std::uint8_t { plus, minus, logical_not };
struct Unary {
    UnaryOperator operation;
    ExpressionPtr operand;
};
struct Binary {
    Arithmetic operation;
    ExpressionPtr left;
    ExpressionPtr right;
};
enum class LogicalOperator : std::uint8_t { logical_and, logical_or };
struct Logical {
    LogicalOperator operation;
    ExpressionPtr left;
    ExpressionPtr right;
};
// a ~ b ~ c
struct Concatenation {
    Expressions parts;
};
// a < b <= c: each pair has to hold.
struct ComparisonChain {
    ExpressionPtr first;
    std::vector<std::pair<Comparison, ExpressionPtr>> rest;
};
// a if test else b
struct Conditional {
    ExpressionPtr test;
    ExpressionPtr when_true;
    ExpressionPtr when_false;  // null: undefined
};
// object.name
struct Attribute {
    ExpressionPtr object;
    std::string name;
};
// object[index]
struct Item {
    ExpressionPtr object;
    ExpressionPtr index;
};
// object[start:stop:step]; parts may be null
struct Slice {
    ExpressionPtr object;
    ExpressionPtr start;
    ExpressionPtr stop;
    ExpressionPtr step;
};
struct FunctionCall {
    ExpressionPtr callee;
    Arguments arguments;
};
struct Filter {
    ExpressionPtr input;
    BuiltinUse filter;
};
struct Test {
    ExpressionPtr input;
    BuiltinUse test;
};

struct Expression {
    int line;
    int height;  // of the tree below: how deep evaluating it recurses, at least
    std::variant<Constant, Name, ListLiteral, TupleLiteral, DictLiteral, Unary, Binary, Logical,
                 Concatenation, ComparisonChain, Conditional, Attribute, Item, Slice, FunctionCall, Filter,
                 Test>
        node;
};

// What is assigned to: a name; an attribute of a namespace; several targets that take a sequence apart.
struct Target {
    enum class Kind : std::uint8_t { name, attribute, tuple };
    Kind kind;
    std::string name;
    std::string attribute;
    std::vector<Target> parts;
};

struct Text {
    std::string text;
};
// {{ value }}
struct Print {
    ExpressionPtr value;
};
struct If {
    struct Branch {
        ExpressionPtr test;
        Block body;
    };
    std::vector<Branch> branches;
    Block otherwise;
};
struct For {
    Target target;
    ExpressionPtr iterable;
    ExpressionPtr condition;  // may be null
    bool is_recursive;
    Block body;
    Block otherwise;
};
struct Break {};
struct Continue {};
struct Set {
    Target target;
    ExpressionPtr value;
};
// {% set name | filters %}…{% endset %}
struct SetBlock {
    Target target;
    std::vector<BuiltinUse> filters;
    Block body;
};
// {% filter name | more %}…{% endfilter %}
struct FilterBlock {
    std::vector<BuiltinUse> filters;
    Block body;
};
struct With {
    std::vector<std::pair<Target, ExpressionPtr>> variables;
    Block body;
};
// A block with variables of its own and no other effect: {% generation %}
struct Scoped {
    Block body;
};
struct MacroDefinition {
    struct Parameter {
        std::string name;
        ExpressionPtr otherwise;  // may be null
    };
    std::string name;
    std::vector<Parameter> parameters;
    Block body;
    // Whether the body names these, and so takes arguments beyond the parameters.
    bool uses_varargs = false;
    bool uses_kwargs = false;
    bool uses_caller = false;
};
// {% call(parameters) callee(…) %}…{% endcall %}
struct CallBlock {
    MacroDefinition caller;
    ExpressionPtr call;  // a FunctionCall
};

struct Statement {
    int line;
    std::variant<Text, Print, If, For, Break, Continue, Set, SetBlock, FilterBlock, With, Scoped,
                 MacroDefinition, CallBlock>
        node;
};

}  // namespace greenroom::text::jinja::ast
