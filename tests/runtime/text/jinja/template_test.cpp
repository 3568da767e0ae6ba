#include "runtime/text/jinja/template.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/date_time.h"
#include "runtime/text/jinja/json.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace greenroom::text::jinja {
namespace {

std::string render(std::string_view source, std::string_view json = "{}", const RenderOptions& options = {}) {
    return Template(source, "chat.jinja").render(parse_json(json), options);
}

void expect_failure(ErrorKind kind, std::string_view message, std::string_view source) {
    SCOPED_TRACE(source);
    test::expect_error(kind, {message}, [source] { render(source); });
}

TEST(JinjaTemplate, MessagesNameTheTemplateTheLineAndWhatIsWrong) {
    expect_failure(ErrorKind::bad_input, "chat.jinja:3: 'role' is undefined", "a\nb\n{{ role.name }}");
    expect_failure(ErrorKind::bad_input, "chat.jinja:2: Encountered unknown tag 'nosuch'.",
                   "a\n{% nosuch %}");
    expect_failure(ErrorKind::bad_input,
                   "chat.jinja:2: the template ends within 'for' of line 1, which lacks 'endfor'",
                   "{% for x in y %}\n{{ x }}");
    expect_failure(ErrorKind::bad_input, "chat.jinja:2: No filter named 'nosuch'.", "\n{{ 1|nosuch }}");
    expect_failure(ErrorKind::bad_input, "chat.jinja:2: only user and assistant",
                   "\n{{ raise_exception('only user and assistant') }}");
    // Within a macro, where it happened, not where it was called.
    expect_failure(ErrorKind::bad_input, "chat.jinja:2: division by zero",
                   "{% macro f() %}\n{{ 1 / 0 }}{% endmacro %}\n\n{{ f() }}");
}

TEST(JinjaTemplate, WhatJinjaHasAndIsNotSupportedHereIsNamed) {
    for (const std::string_view tag :
         {"include 'x'", "extends 'x'", "import 'x' as y", "from 'x' import y", "block x", "autoescape true"})
        expect_failure(
            ErrorKind::unsupported,
            "chat.jinja:2: the tag '" + std::string(tag.substr(0, tag.find(' '))) + "' is not supported",
            "\n{% " + std::string(tag) + " %}");
    expect_failure(ErrorKind::unsupported, "chat.jinja:1: the filter 'groupby' is not supported",
                   "{{ [1]|groupby('a') }}");
    expect_failure(ErrorKind::unsupported, "chat.jinja:1: the function cycler() is not supported",
                   "{{ cycler(1, 2) }}");
    expect_failure(ErrorKind::unsupported, "chat.jinja:1: the method encode() of 'str' is not supported",
                   "{{ 'a'.encode() }}");
    expect_failure(ErrorKind::unsupported, "chat.jinja:1: the result of '**' is beyond 64 bits",
                   "{{ 10 ** 30 }}");
}

TEST(JinjaTemplate, WhatIsNotUsedIsNoError) {
    EXPECT_EQ(render("{% if false %}{{ 1|groupby('a') }}{{ 1|nosuch }}{{ cycler() }}{% endif %}ok"), "ok");
}

TEST(JinjaTemplate, ListsAndDictsCannotBeChanged) {
    expect_failure(ErrorKind::bad_input, "access to attribute 'append' of 'list' object is unsafe.",
                   "{% set l = [] %}{{ l.append(1) }}");
    expect_failure(ErrorKind::bad_input, "access to attribute 'update' of 'dict' object is unsafe.",
                   "{% set d = {} %}{{ d.update({'a': 1}) }}");
    expect_failure(ErrorKind::bad_input, "cannot assign attribute on non-namespace object 'd'",
                   "{% set d = {} %}{% set d.a = 1 %}");
}

TEST(JinjaTemplate, JsonKeepsTheOrderOfKeysAndTheSpellingOfNumbers) {
    constexpr std::string_view kJson =
        R"({"z": 1, "a": [1.0, 1e+20, 0.1, -5, 123456789012345678901234567890], "ü": "<\n\"", "e": {}})";
    EXPECT_EQ(render("{{ x|tojson }}", R"({"x": )" + std::string(kJson) + "}"), kJson);
}

TEST(JinjaTemplate, JsonThatIsNoneIsRefusedWithItsByte) {
    for (const auto& [json, message] : std::vector<std::pair<std::string_view, std::string_view>>{
             {"{\"a\": }", "byte 6: '}' found; expected a value"},
             {"{\"a\": 1", "byte 7: the end found; expected ',' or '}'"},
             {"[1] 2", "byte 4: '2' found; expected the end of the text"},
             {"{a: 1}", "byte 1: 'a' found; expected a key in double quotes"},
             {"\"\\q\"", "expected an escape that JSON has"},
             {"\"\xFF\"", "not UTF-8"}})
        test::expect_error(ErrorKind::bad_input, {"JSON: ", message}, [json = json] { parse_json(json); });
}

TEST(JinjaTemplate, VariablesMustBeAnObject) {
    test::expect_error(ErrorKind::bad_input, {"chat.jinja: the variables are list; expected an object"},
                       [] { render("a", "[]"); });
}

TEST(JinjaTemplate, InvalidUtf8InTheSourceIsReplaced) { EXPECT_EQ(render("a\xFFz"), "a\uFFFDz"); }

TEST(JinjaTemplate, TellsTheTimeItWasGiven) {
    RenderOptions options;
    options.now = DateTime::parse("2026-03-05T14:07:09");
    EXPECT_EQ(render("{{ strftime_now('%Y-%m-%d %H:%M:%S, %A %j %d %b') }}", "{}", options),
              "2026-03-05 14:07:09, Thursday 064 05 Mar");
    EXPECT_EQ(DateTime::parse("2024-02-29").format("%d.%m.%y %I%p"), "29.02.24 12AM");
}

TEST(JinjaTemplate, TimesThatNoCalendarHasAreRefused) {
    for (const std::string_view text :
         {"", "now", "2026-3-5", "2026-02-29", "2026-13-01", "2026-03-05 14:07:09", "2026-03-05T24:00:00",
          "2026-03-05T14:07", "0000-01-01", "2026-03-05T14:07:09Z"})
        test::expect_error(ErrorKind::bad_input, {"is no time; write one like 2026-03-05T14:07:09"},
                           [text] { DateTime::parse(text); });
}

TEST(JinjaTemplate, ManyThreadsMayRenderOne) {
    const Template shared(
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + m.n %}{% endfor %}{{ ns.n "
        "}}",
        "t");
    const Value variables = parse_json(R"({"messages": [{"n": 1}, {"n": 2}, {"n": 39}]})");
    std::vector<std::string> texts(4);
    std::vector<std::thread> threads;
    for (std::string& text : texts)
        threads.emplace_back([&] {
            for (int i = 0; i < 100; ++i) text = shared.render(variables, {});
        });
    for (std::thread& thread : threads) thread.join();
    for (const std::string& text : texts) EXPECT_EQ(text, "42");
}

}  // namespace
}  // namespace greenroom::text::jinja
