#pragma once

// ExpressionParser: tokens to the trees of expressions, by jinja2's grammar and precedence. The statements'
// parser is built on it.

#include "quant/base/error.h"
#include "runtime/text/jinja/ast.h"
#include "runtime/text/jinja/lexer.h"

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace greenroom::text::jinja {

class ExpressionParser {
  public:
    ExpressionParser(std::vector<Token> tokens, std::string_view name)
        : tokens_(std::move(tokens)), name_(name) {}

  protected:
    enum class Conditionals : std::uint8_t { allowed, excluded };

    ast::ExpressionPtr parse_expression(Conditionals conditionals = Conditionals::allowed);

    // One expression, or several with commas between, which are a tuple. `end` is a word that may follow a
    // comma.
    ast::ExpressionPtr parse_tuple(Conditionals conditionals = Conditionals::allowed,
                                   std::string_view end = {});

    // Within brackets, which it takes.
    ast::Arguments parse_arguments();

    // name or name(arguments), perhaps more behind '|'.
    std::vector<ast::BuiltinUse> parse_filters();

    const Token& current() const { return tokens_[at_]; }
    const Token& ahead() const { return tokens_[at_ + (current().kind == TokenKind::end ? 0 : 1)]; }
    Token take() {
        if (current().kind == TokenKind::end) return current();
        return std::move(tokens_[at_++]);
    }

    static bool is(const Token& token, TokenKind kind, std::string_view text) {
        return token.kind == kind && token.text == text;
    }
    bool at_symbol(std::string_view symbol) const { return is(current(), TokenKind::symbol, symbol); }
    bool at_word(std::string_view word) const { return is(current(), TokenKind::name, word); }
    bool take_symbol(std::string_view symbol);
    bool take_word(std::string_view word);
    void expect_symbol(std::string_view symbol);
    void expect_word(std::string_view word);
    std::string expect_name();

    template <class Node>
    ast::ExpressionPtr make(int line, int height, Node node) {
        if (height > kMaxHeight) fail_at(line, "an expression is too long or too deep");
        return std::make_unique<const ast::Expression>(ast::Expression{line, height, std::move(node)});
    }

    // The names of variables that were read so far, for those who ask whether a body names `caller`.
    std::vector<std::string>& names_read() { return names_read_; }

    [[noreturn]] void fail_at(int line, std::string_view message,
                              ErrorKind kind = ErrorKind::bad_input) const;
    [[noreturn]] void fail_here(std::string_view message) const { fail_at(current().line, message); }
    [[noreturn]] void fail_unexpected(std::string_view expected) const;

    // Counts how deep the parser recurses, so that no template can overflow the stack. Brackets and blocks
    // share it.
    class Nesting {
      public:
        explicit Nesting(ExpressionParser& parser);
        ~Nesting() { --parser_.nesting_; }
        Nesting(const Nesting&) = delete;
        Nesting& operator=(const Nesting&) = delete;

      private:
        ExpressionParser& parser_;
    };

  private:
    static constexpr int kMaxHeight = 300;
    static constexpr int kMaxNesting = 100;

    ast::ExpressionPtr parse_conditional();
    ast::ExpressionPtr parse_or();
    ast::ExpressionPtr parse_and();
    ast::ExpressionPtr parse_not();
    ast::ExpressionPtr parse_comparison();
    ast::ExpressionPtr parse_sum();
    ast::ExpressionPtr parse_concatenation();
    ast::ExpressionPtr parse_product();
    ast::ExpressionPtr parse_power();
    enum class Filters : std::uint8_t { taken, left };
    ast::ExpressionPtr parse_unary(Filters filters);
    ast::ExpressionPtr parse_primary();
    ast::ExpressionPtr parse_name();
    ast::ExpressionPtr parse_strings();
    ast::ExpressionPtr parse_bracketed_tuple();
    ast::ExpressionPtr parse_list();
    ast::ExpressionPtr parse_dict();
    ast::ExpressionPtr parse_access(ast::ExpressionPtr object);
    ast::ExpressionPtr parse_subscript(ast::ExpressionPtr object);
    ast::ExpressionPtr parse_call(ast::ExpressionPtr callee);
    ast::ExpressionPtr parse_filter(ast::ExpressionPtr input);
    ast::ExpressionPtr parse_test(ast::ExpressionPtr input);
    ast::BuiltinUse parse_filter_use();
    ast::ExpressionPtr parse_accesses(ast::ExpressionPtr object);
    ast::ExpressionPtr parse_filters_and_tests(ast::ExpressionPtr input);
    bool at_argument_of_test() const;

    std::vector<Token> tokens_;
    std::size_t at_ = 0;
    std::string_view name_;
    int nesting_ = 0;
    std::vector<std::string> names_read_;
};

}  // namespace greenroom::text::jinja
