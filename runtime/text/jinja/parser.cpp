#include "runtime/text/jinja/parser.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/expression_parser.h"

#include <algorithm>
#include <array>
#include <span>

namespace greenroom::text::jinja {
namespace {

using namespace ast;  // NOLINT(google-build-using-namespace): this file is about little else

// Tags of jinja2 that need what a chat template has not: other files, Python, escaping.
constexpr std::array<std::string_view, 6> kUnsupportedTags = {"autoescape", "block",  "extends",
                                                              "from",       "import", "include"};

class Parser : private ExpressionParser {
  public:
    using ExpressionParser::ExpressionParser;

    Block parse() { return parse_block({}); }

  private:
    // A block's innermost tag, for the message when its end is missing.
    struct OpenTag {
        std::string_view name;
        int line = 0;
    };

    // Up to a tag of one of these names, whose "{%" and name it takes; up to the template's end if there are
    // none.
    Block parse_block(std::span<const std::string_view> ends) {
        const Nesting nesting(*this);
        Block block;
        while (true) {
            const int line = current().line;
            switch (current().kind) {
                case TokenKind::text:
                    block.push_back({line, Text{take().text}});
                    break;
                case TokenKind::print_begin:
                    take();
                    block.push_back({line, Print{parse_tuple()}});
                    expect(TokenKind::print_end);
                    break;
                case TokenKind::block_begin:
                    take();
                    if (at_any(ends)) return block;
                    parse_statement(block, line);
                    break;
                default:
                    if (!ends.empty()) fail_unclosed(ends);
                    return block;
            }
        }
    }

    bool at_any(std::span<const std::string_view> words) const {
        return std::any_of(words.begin(), words.end(),
                           [this](std::string_view word) { return at_word(word); });
    }

    // The body of a tag and the tag that ends it: {% endNAME %}.
    Block parse_body(std::string_view end) {
        Block body = parse_block({&end, 1});
        expect_word(end);
        expect(TokenKind::block_end);
        return body;
    }

    void parse_statement(Block& block, int line) {
        const std::string tag = expect_name();
        const OpenTag outer = std::exchange(open_tag_, OpenTag{tag, line});
        if (tag == "print")
            parse_print(block, line);
        else
            block.push_back({line, parse_tag(tag, line)});
        open_tag_ = outer;
    }

    using Node = decltype(Statement::node);

    Node parse_tag(std::string_view tag, int line) {
        if (tag == "if") return parse_if();
        if (tag == "for") return parse_for();
        if (tag == "set") return parse_set();
        if (tag == "macro") return parse_macro();
        if (tag == "call") return parse_call_block();
        if (tag == "filter") return parse_filter_block();
        if (tag == "with") return parse_with();
        if (tag == "break") return parse_jump(Break{}, line);
        if (tag == "continue") return parse_jump(Continue{}, line);
        if (tag == "generation") {
            expect(TokenKind::block_end);
            return Scoped{parse_outside_loops("endgeneration")};
        }
        if (std::find(kUnsupportedTags.begin(), kUnsupportedTags.end(), tag) != kUnsupportedTags.end())
            fail_at(line, fmt::format("the tag '{}' is not supported", tag), ErrorKind::unsupported);
        fail_at(line, fmt::format("Encountered unknown tag '{}'.", tag));
    }

    void parse_print(Block& block, int line) {
        do {
            block.push_back({line, Print{parse_expression()}});
        } while (take_symbol(","));
        expect(TokenKind::block_end);
    }

    If parse_if() {
        static constexpr std::array<std::string_view, 3> kEnds = {"elif", "else", "endif"};
        If statement;
        do {
            ExpressionPtr test = parse_tuple(Conditionals::excluded);
            expect(TokenKind::block_end);
            statement.branches.push_back({std::move(test), parse_block(kEnds)});
        } while (take_word("elif"));
        if (take_word("else")) {
            expect(TokenKind::block_end);
            statement.otherwise = parse_body("endif");
        } else {
            expect_word("endif");
            expect(TokenKind::block_end);
        }
        return statement;
    }

    For parse_for() {
        static constexpr std::array<std::string_view, 2> kEnds = {"else", "endfor"};
        For statement;
        statement.target = parse_target();
        expect_word("in");
        statement.iterable = parse_tuple(Conditionals::excluded, "recursive");
        if (take_word("if")) statement.condition = parse_expression();
        statement.is_recursive = take_word("recursive");
        expect(TokenKind::block_end);

        ++n_loops_;
        statement.body = parse_block(kEnds);
        --n_loops_;
        if (take_word("else")) {
            expect(TokenKind::block_end);
            statement.otherwise = parse_body("endfor");
        } else {
            expect_word("endfor");
            expect(TokenKind::block_end);
        }
        return statement;
    }

    Node parse_set() {
        Target target = parse_target();
        if (take_symbol("=")) {
            ExpressionPtr value = parse_tuple();
            expect(TokenKind::block_end);
            return Set{std::move(target), std::move(value)};
        }
        std::vector<BuiltinUse> filters;
        if (take_symbol("|")) filters = parse_filters();
        expect(TokenKind::block_end);
        return SetBlock{std::move(target), std::move(filters), parse_outside_loops("endset")};
    }

    // name; name.attribute; several with commas between, perhaps in brackets.
    Target parse_target() {
        const Nesting nesting(*this);
        Target first = parse_one_target();
        if (!at_symbol(",")) return first;
        Target tuple{Target::Kind::tuple, {}, {}, {}};
        tuple.parts.push_back(std::move(first));
        while (take_symbol(",")) {
            if (at_word("in") || at_symbol("=") || at_symbol(")")) break;
            tuple.parts.push_back(parse_one_target());
        }
        return tuple;
    }

    Target parse_one_target() {
        if (take_symbol("(")) {
            Target inner = parse_target();
            expect_symbol(")");
            return inner;
        }
        const int line = current().line;
        std::string name = expect_name();
        static constexpr std::array<std::string_view, 6> kConstants = {"true", "false", "none",
                                                                       "True", "False", "None"};
        if (std::find(kConstants.begin(), kConstants.end(), name) != kConstants.end())
            fail_at(line, fmt::format("cannot assign to '{}'", name));
        if (!take_symbol(".")) return {Target::Kind::name, std::move(name), {}, {}};
        return {Target::Kind::attribute, std::move(name), expect_name(), {}};
    }

    std::vector<MacroDefinition::Parameter> parse_parameters() {
        std::vector<MacroDefinition::Parameter> parameters;
        expect_symbol("(");
        while (!at_symbol(")")) {
            if (!parameters.empty()) expect_symbol(",");
            std::string name = expect_name();
            ExpressionPtr otherwise = take_symbol("=") ? parse_expression() : nullptr;
            if (!otherwise && !parameters.empty() && parameters.back().otherwise)
                fail_here("non-default argument follows default argument");
            parameters.push_back({std::move(name), std::move(otherwise)});
        }
        expect_symbol(")");
        return parameters;
    }

    MacroDefinition parse_macro() {
        MacroDefinition macro;
        macro.name = expect_name();
        macro.parameters = parse_parameters();
        expect(TokenKind::block_end);
        parse_macro_body(macro, "endmacro");
        return macro;
    }

    void parse_macro_body(MacroDefinition& macro, std::string_view end) {
        const auto n_before = static_cast<std::ptrdiff_t>(names_read().size());
        macro.body = parse_outside_loops(end);
        const auto reads = [&](std::string_view name) {
            return std::find(names_read().begin() + n_before, names_read().end(), name) != names_read().end();
        };
        macro.uses_varargs = reads("varargs");
        macro.uses_kwargs = reads("kwargs");
        macro.uses_caller = reads("caller");
    }

    CallBlock parse_call_block() {
        CallBlock statement;
        statement.caller.name = "caller";
        if (at_symbol("(")) statement.caller.parameters = parse_parameters();
        const int line = current().line;
        statement.call = parse_expression();
        if (!std::holds_alternative<FunctionCall>(statement.call->node)) fail_at(line, "expected call");
        expect(TokenKind::block_end);
        parse_macro_body(statement.caller, "endcall");
        return statement;
    }

    FilterBlock parse_filter_block() {
        FilterBlock statement;
        statement.filters = parse_filters();
        expect(TokenKind::block_end);
        statement.body = parse_outside_loops("endfilter");
        return statement;
    }

    With parse_with() {
        With statement;
        while (current().kind != TokenKind::block_end) {
            if (!statement.variables.empty()) expect_symbol(",");
            Target target = parse_one_target();
            expect_symbol("=");
            statement.variables.emplace_back(std::move(target), parse_expression());
        }
        expect(TokenKind::block_end);
        statement.body = parse_body("endwith");
        return statement;
    }

    // A body whose text is collected for itself: no loop around it can be left from within.
    Block parse_outside_loops(std::string_view end) {
        const int n_loops = std::exchange(n_loops_, 0);
        Block body = parse_body(end);
        n_loops_ = n_loops;
        return body;
    }

    Node parse_jump(Node jump, int line) {
        if (n_loops_ == 0) fail_at(line, "'break' and 'continue' belong into a loop");
        expect(TokenKind::block_end);
        return jump;
    }

    void expect(TokenKind kind) {
        if (current().kind != kind) fail_unexpected(describe({kind, "", 0}));
        take();
    }

    [[noreturn]] void fail_unclosed(std::span<const std::string_view> ends) const {
        fail_here(fmt::format("the template ends within '{}' of line {}, which lacks '{}'", open_tag_.name,
                              open_tag_.line, ends.back()));
    }

    OpenTag open_tag_;
    int n_loops_ = 0;  // around this place, within the same text
};

}  // namespace

Block parse_template(std::string_view source, std::string_view name) {
    return Parser(tokenize(source, name), name).parse();
}

}  // namespace greenroom::text::jinja
