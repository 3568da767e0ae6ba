#include "runtime/text/jinja/expression_parser.h"

#include "runtime/text/jinja/filters.h"
#include "runtime/text/jinja/numbers.h"
#include "runtime/text/jinja/tests.h"

#include <algorithm>
#include <array>

namespace greenroom::text::jinja {
namespace {

using namespace ast;  // NOLINT(google-build-using-namespace): this file is about little else

int height_of(const ExpressionPtr& expression) { return expression == nullptr ? 0 : expression->height; }

int height_of(const Expressions& expressions) {
    int height = 0;
    for (const ExpressionPtr& expression : expressions) height = std::max(height, height_of(expression));
    return height;
}

int height_of(const Arguments& arguments) {
    int height = std::max(height_of(arguments.positional), height_of(arguments.more_positional));
    for (const auto& [name, value] : arguments.named) height = std::max(height, height_of(value));
    return std::max(height, height_of(arguments.more_named));
}

template <class... Parts>
int height_above(const Parts&... parts) {
    return 1 + std::max({height_of(parts)...});
}

template <class Node>
bool is_node(const ExpressionPtr& expression) {
    return std::holds_alternative<Node>(expression->node);
}

}  // namespace

ExpressionParser::Nesting::Nesting(ExpressionParser& parser) : parser_(parser) {
    if (parser.nesting_ == kMaxNesting)
        parser.fail_here("brackets or blocks lie too deep within one another");
    ++parser.nesting_;
}

ExpressionPtr ExpressionParser::parse_expression(Conditionals conditionals) {
    return conditionals == Conditionals::allowed ? parse_conditional() : parse_or();
}

ExpressionPtr ExpressionParser::parse_tuple(Conditionals conditionals, std::string_view end) {
    const int line = current().line;
    ExpressionPtr first = parse_expression(conditionals);
    if (!at_symbol(",")) return first;
    Expressions items;
    items.push_back(std::move(first));
    while (take_symbol(",")) {
        const bool is_end = current().kind == TokenKind::print_end ||
                            current().kind == TokenKind::block_end || at_symbol(")") ||
                            (!end.empty() && at_word(end));
        if (is_end) break;
        items.push_back(parse_expression(conditionals));
    }
    const int height = height_above(items);
    return make(line, height, TupleLiteral{std::move(items)});
}

ExpressionPtr ExpressionParser::parse_conditional() {
    const Nesting nesting(*this);
    const int line = current().line;
    ExpressionPtr value = parse_or();
    while (take_word("if")) {
        ExpressionPtr test = parse_or();
        ExpressionPtr otherwise = take_word("else") ? parse_conditional() : nullptr;
        const int height = height_above(test, value, otherwise);
        value = make(line, height, Conditional{std::move(test), std::move(value), std::move(otherwise)});
    }
    return value;
}

ExpressionPtr ExpressionParser::parse_or() {
    ExpressionPtr left = parse_and();
    while (at_word("or")) {
        const int line = take().line;
        ExpressionPtr right = parse_and();
        const int height = height_above(left, right);
        left = make(line, height, Logical{LogicalOperator::logical_or, std::move(left), std::move(right)});
    }
    return left;
}

ExpressionPtr ExpressionParser::parse_and() {
    ExpressionPtr left = parse_not();
    while (at_word("and")) {
        const int line = take().line;
        ExpressionPtr right = parse_not();
        const int height = height_above(left, right);
        left = make(line, height, Logical{LogicalOperator::logical_and, std::move(left), std::move(right)});
    }
    return left;
}

ExpressionPtr ExpressionParser::parse_not() {
    if (!at_word("not")) return parse_comparison();
    const Nesting nesting(*this);
    const int line = take().line;
    ExpressionPtr operand = parse_not();
    const int height = height_above(operand);
    return make(line, height, Unary{UnaryOperator::logical_not, std::move(operand)});
}

ExpressionPtr ExpressionParser::parse_comparison() {
    static constexpr std::array<std::pair<std::string_view, Comparison>, 6> kSymbols = {{
        {"==", Comparison::equal},
        {"!=", Comparison::not_equal},
        {"<", Comparison::less},
        {"<=", Comparison::less_equal},
        {">", Comparison::greater},
        {">=", Comparison::greater_equal},
    }};
    const int line = current().line;
    ExpressionPtr first = parse_sum();
    std::vector<std::pair<Comparison, ExpressionPtr>> rest;
    int height = height_above(first);
    while (true) {
        const auto* const symbol = std::find_if(kSymbols.begin(), kSymbols.end(),
                                                [this](const auto& pair) { return at_symbol(pair.first); });
        Comparison comparison = Comparison::in;
        if (symbol != kSymbols.end()) {
            comparison = symbol->second;
        } else if (at_word("not") && is(ahead(), TokenKind::name, "in")) {
            comparison = Comparison::not_in;
            take();
        } else if (!at_word("in")) {
            break;
        }
        take();
        rest.emplace_back(comparison, parse_sum());
        height = std::max(height, height_above(rest.back().second));
    }
    if (rest.empty()) return first;
    return make(line, height, ComparisonChain{std::move(first), std::move(rest)});
}

ExpressionPtr ExpressionParser::parse_sum() {
    ExpressionPtr left = parse_concatenation();
    while (at_symbol("+") || at_symbol("-")) {
        const Token symbol = take();
        ExpressionPtr right = parse_concatenation();
        const int height = height_above(left, right);
        const Arithmetic operation = symbol.text == "+" ? Arithmetic::add : Arithmetic::subtract;
        left = make(symbol.line, height, Binary{operation, std::move(left), std::move(right)});
    }
    return left;
}

ExpressionPtr ExpressionParser::parse_concatenation() {
    const int line = current().line;
    ExpressionPtr first = parse_product();
    if (!at_symbol("~")) return first;
    Expressions parts;
    parts.push_back(std::move(first));
    while (take_symbol("~")) parts.push_back(parse_product());
    const int height = height_above(parts);
    return make(line, height, Concatenation{std::move(parts)});
}

ExpressionPtr ExpressionParser::parse_product() {
    ExpressionPtr left = parse_power();
    while (at_symbol("*") || at_symbol("/") || at_symbol("//") || at_symbol("%")) {
        const Token symbol = take();
        ExpressionPtr right = parse_power();
        const int height = height_above(left, right);
        const Arithmetic operation = symbol.text == "*"    ? Arithmetic::multiply
                                     : symbol.text == "/"  ? Arithmetic::divide
                                     : symbol.text == "//" ? Arithmetic::floor_divide
                                                           : Arithmetic::modulo;
        left = make(symbol.line, height, Binary{operation, std::move(left), std::move(right)});
    }
    return left;
}

// From the left, and behind a sign: jinja2's ways with ** are not Python's.
ExpressionPtr ExpressionParser::parse_power() {
    ExpressionPtr left = parse_unary(Filters::taken);
    while (at_symbol("**")) {
        const int line = take().line;
        ExpressionPtr right = parse_unary(Filters::taken);
        const int height = height_above(left, right);
        left = make(line, height, Binary{Arithmetic::power, std::move(left), std::move(right)});
    }
    return left;
}

// A filter takes the sign too: -1|abs is 1.
ExpressionPtr ExpressionParser::parse_unary(Filters filters) {
    ExpressionPtr expression;
    if (at_symbol("-") || at_symbol("+")) {
        const Nesting nesting(*this);
        const Token sign = take();
        ExpressionPtr operand = parse_unary(Filters::left);
        const int height = height_above(operand);
        const UnaryOperator operation = sign.text == "-" ? UnaryOperator::minus : UnaryOperator::plus;
        expression = make(sign.line, height, Unary{operation, std::move(operand)});
        expression = parse_accesses(std::move(expression));
    } else {
        expression = parse_accesses(parse_primary());
    }
    return filters == Filters::taken ? parse_filters_and_tests(std::move(expression)) : std::move(expression);
}

ExpressionPtr ExpressionParser::parse_primary() {
    const Token& token = current();
    const int line = token.line;
    switch (token.kind) {
        case TokenKind::name:
            return parse_name();
        case TokenKind::string:
            return parse_strings();
        case TokenKind::integer:
            return make(line, 1, Constant{parse_integer(take().text)});
        case TokenKind::real:
            return make(line, 1, Constant{Value::real(parse_real(take().text).value_or(0))});
        case TokenKind::symbol:
            if (token.text == "(") return parse_bracketed_tuple();
            if (token.text == "[") return parse_list();
            if (token.text == "{") return parse_dict();
            break;
        default:
            break;
    }
    fail_unexpected("an expression");
}

ExpressionPtr ExpressionParser::parse_name() {
    Token token = take();
    const std::string& name = token.text;
    if (name == "true" || name == "True") return make(token.line, 1, Constant{Value::boolean(true)});
    if (name == "false" || name == "False") return make(token.line, 1, Constant{Value::boolean(false)});
    if (name == "none" || name == "None") return make(token.line, 1, Constant{Value::none()});
    names_read_.push_back(name);
    return make(token.line, 1, Name{std::move(token.text)});
}

// "a" 'b' is "ab".
ExpressionPtr ExpressionParser::parse_strings() {
    const int line = current().line;
    std::string text;
    while (current().kind == TokenKind::string) text += take().text;
    return make(line, 1, Constant{make_string(std::move(text))});
}

ExpressionPtr ExpressionParser::parse_bracketed_tuple() {
    const Nesting nesting(*this);
    const int line = take().line;
    if (take_symbol(")")) return make(line, 1, TupleLiteral{});
    ExpressionPtr inner = parse_tuple();
    expect_symbol(")");
    return inner;
}

ExpressionPtr ExpressionParser::parse_list() {
    const Nesting nesting(*this);
    const int line = take().line;
    Expressions items;
    while (!at_symbol("]")) {
        items.push_back(parse_expression());
        if (!take_symbol(",")) break;
    }
    expect_symbol("]");
    const int height = height_above(items);
    return make(line, height, ListLiteral{std::move(items)});
}

ExpressionPtr ExpressionParser::parse_dict() {
    const Nesting nesting(*this);
    const int line = take().line;
    DictLiteral dict;
    int height = 1;
    while (!at_symbol("}")) {
        ExpressionPtr key = parse_expression();
        expect_symbol(":");
        ExpressionPtr value = parse_expression();
        height = std::max(height, height_above(key, value));
        dict.entries.emplace_back(std::move(key), std::move(value));
        if (!take_symbol(",")) break;
    }
    expect_symbol("}");
    return make(line, height, std::move(dict));
}

// Attributes, items and calls only: what binds closer than a sign.
ExpressionPtr ExpressionParser::parse_accesses(ExpressionPtr object) {
    while (true) {
        if (at_symbol(".") || at_symbol("["))
            object = parse_access(std::move(object));
        else if (at_symbol("("))
            object = parse_call(std::move(object));
        else
            return object;
    }
}

// Filters and tests; their results are called, but have no attributes without brackets around: x|f.name is a
// filter.
ExpressionPtr ExpressionParser::parse_filters_and_tests(ExpressionPtr input) {
    while (true) {
        if (at_symbol("|"))
            input = parse_filter(std::move(input));
        else if (at_word("is"))
            input = parse_test(std::move(input));
        else if (at_symbol("("))
            input = parse_call(std::move(input));
        else
            return input;
    }
}

ExpressionPtr ExpressionParser::parse_access(ExpressionPtr object) {
    const int height = height_above(object);
    const Token symbol = take();
    if (symbol.text == "[") return parse_subscript(std::move(object));
    if (current().kind == TokenKind::name)
        return make(symbol.line, height, Attribute{std::move(object), take().text});
    if (current().kind != TokenKind::integer) fail_unexpected("a name or a number behind '.'");
    ExpressionPtr index = make(symbol.line, 1, Constant{parse_integer(take().text)});
    return make(symbol.line, height, Item{std::move(object), std::move(index)});
}

ExpressionPtr ExpressionParser::parse_subscript(ExpressionPtr object) {
    const Nesting nesting(*this);
    const int line = current().line;
    ExpressionPtr start = at_symbol(":") ? nullptr : parse_tuple();
    if (take_symbol("]")) {
        const int height = height_above(object, start);
        return make(line, height, Item{std::move(object), std::move(start)});
    }
    expect_symbol(":");
    ExpressionPtr stop = at_symbol(":") || at_symbol("]") ? nullptr : parse_expression();
    ExpressionPtr step = take_symbol(":") && !at_symbol("]") ? parse_expression() : nullptr;
    if (at_symbol(","))
        fail_at(line, "slices in several dimensions are not supported", ErrorKind::unsupported);
    expect_symbol("]");
    const int height = height_above(object, start, stop, step);
    return make(line, height, Slice{std::move(object), std::move(start), std::move(stop), std::move(step)});
}

ExpressionPtr ExpressionParser::parse_call(ExpressionPtr callee) {
    const int line = current().line;
    Arguments arguments = parse_arguments();
    const int height = height_above(callee, arguments);
    return make(line, height, FunctionCall{std::move(callee), std::move(arguments)});
}

Arguments ExpressionParser::parse_arguments() {
    const Nesting nesting(*this);
    Arguments arguments;
    expect_symbol("(");
    while (!at_symbol(")")) {
        const bool is_named = current().kind == TokenKind::name && is(ahead(), TokenKind::symbol, "=");
        if (take_symbol("*")) {
            if (arguments.more_positional || arguments.more_named)
                fail_here("only one * is possible, before **");
            arguments.more_positional = parse_expression();
        } else if (take_symbol("**")) {
            if (arguments.more_named) fail_here("only one ** is possible");
            arguments.more_named = parse_expression();
        } else if (is_named && !arguments.more_named) {
            std::string name = expect_name();
            expect_symbol("=");
            arguments.named.emplace_back(std::move(name), parse_expression());
        } else {
            if (!arguments.named.empty() || arguments.more_positional || arguments.more_named)
                fail_here("an argument without a name must stand before those with one");
            arguments.positional.push_back(parse_expression());
        }
        if (!take_symbol(",")) break;
    }
    expect_symbol(")");
    return arguments;
}

ExpressionPtr ExpressionParser::parse_filter(ExpressionPtr input) {
    const int line = take().line;
    BuiltinUse filter = parse_filter_use();
    const int height = height_above(input, filter.arguments);
    return make(line, height, Filter{std::move(input), std::move(filter)});
}

BuiltinUse ExpressionParser::parse_filter_use() {
    std::string name = expect_name();
    while (take_symbol(".")) name += "." + expect_name();
    const Builtin* builtin = find_filter(name);
    Arguments arguments = at_symbol("(") ? parse_arguments() : Arguments{};
    return {std::move(name), builtin, std::move(arguments)};
}

std::vector<BuiltinUse> ExpressionParser::parse_filters() {
    std::vector<BuiltinUse> filters;
    do {
        filters.push_back(parse_filter_use());
    } while (take_symbol("|"));
    return filters;
}

ExpressionPtr ExpressionParser::parse_test(ExpressionPtr input) {
    const int line = take().line;
    const bool is_negated = take_word("not");
    std::string name = expect_name();
    while (take_symbol(".")) name += "." + expect_name();
    const Builtin* builtin = find_test(name);
    Arguments arguments;
    if (at_symbol("(")) {
        arguments = parse_arguments();
    } else if (at_argument_of_test()) {
        if (at_word("is")) fail_here("tests with 'is' cannot be chained");
        arguments.positional.push_back(parse_accesses(parse_primary()));
    }
    int height = height_above(input, arguments);
    ExpressionPtr test =
        make(line, height, Test{std::move(input), {std::move(name), builtin, std::move(arguments)}});
    if (!is_negated) return test;
    return make(line, height + 1, Unary{UnaryOperator::logical_not, std::move(test)});
}

// "is divisibleby 3": an argument without brackets.
bool ExpressionParser::at_argument_of_test() const {
    switch (current().kind) {
        case TokenKind::name:
            return !at_word("else") && !at_word("or") && !at_word("and");
        case TokenKind::string:
        case TokenKind::integer:
        case TokenKind::real:
            return true;
        default:
            return at_symbol("[") || at_symbol("{");
    }
}

bool ExpressionParser::take_symbol(std::string_view symbol) {
    if (!at_symbol(symbol)) return false;
    take();
    return true;
}

bool ExpressionParser::take_word(std::string_view word) {
    if (!at_word(word)) return false;
    take();
    return true;
}

void ExpressionParser::expect_symbol(std::string_view symbol) {
    if (!take_symbol(symbol)) fail_unexpected(fmt::format("'{}'", symbol));
}

void ExpressionParser::expect_word(std::string_view word) {
    if (!take_word(word)) fail_unexpected(fmt::format("'{}'", word));
}

std::string ExpressionParser::expect_name() {
    if (current().kind != TokenKind::name) fail_unexpected("a name");
    return take().text;
}

void ExpressionParser::fail_at(int line, std::string_view message, ErrorKind kind) const {
    fail(kind, "{}:{}: {}", name_, line, message);
}

void ExpressionParser::fail_unexpected(std::string_view expected) const {
    fail_here(fmt::format("unexpected '{}'; expected {}", describe(current()), expected));
}

}  // namespace greenroom::text::jinja
