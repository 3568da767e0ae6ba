// Python literals and lists of calls, as JSON.

#include "runtime/text/output/python_literal.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace greenroom::text {
namespace {

TEST(PythonLiteral, BecomesJson) {
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"None", "null"},
        {"True", "true"},
        {"false", "false"},
        {"-1", "-1"},
        {"1.50", "1.50"},
        {"12345678901234567890", "12345678901234567890"},
        {"'a'", "\"a\""},
        {"\"it's\"", "\"it's\""},
        {R"('it\'s \n \x41 \u00e9 \U0001F600 \q')", "\"it's \\n A é 😀 \\\\q\""},
        {"[1, 'a', [None,],]", "[1, \"a\", [null]]"},
        {"(1, 2)", "[1, 2]"},
        {"{'a': {\"b\": ()}, 'c': []}", R"({"a": {"b": []}, "c": []})"},
        {" { } ", "{}"},
    };
    for (const auto& [literal, json] : cases) EXPECT_EQ(python_literal_to_json(literal), json) << literal;
}

TEST(PythonLiteral, OtherTextIsNone) {
    for (const std::string text : {"", "x", "'a", "1_000", "0x10", "{1: 2}", "[1", "[1 2]", "{'a' 1}",
                                   "'a' 'b'", "f(1)", "'\\ud800'", "'\\x4'", "b'a'", ".5", "+1", "'a'b"})
        EXPECT_EQ(python_literal_to_json(text), std::nullopt) << text;
    EXPECT_EQ(python_literal_to_json(std::string(1'000'000, '[')), std::nullopt);
}

TEST(PythonCalls, AreReadWithTheirKeywords) {
    const auto calls = parse_python_calls("[ get_time ( tz = 'UTC' ), my.tool-2() ]");
    ASSERT_TRUE(calls);
    EXPECT_EQ(*calls, (std::vector<ToolCall>{{"", "get_time", R"({"tz": "UTC"})"}, {"", "my.tool-2", "{}"}}));
    for (const char* other :
         {"", "[]", "f()", "[f(1)]", "[f(a=1)", "[f(a=)]", "[f(a=1) g()]", "[f()] x", "[1]"})
        EXPECT_FALSE(parse_python_calls(other)) << other;
}

TEST(PythonCalls, EndIsFoundAndOtherListsAreRefusedAtOnce) {
    const std::string calls = R"([f(a="]) \" ]", b=[{'x': ')'}]), g()])";
    PythonCallsScanner scanner;
    EXPECT_EQ(scanner.push(calls + " [more]"), calls.size());
    EXPECT_TRUE(scanner.complete());
    for (const auto& [text, n_taken] : std::vector<std::pair<std::string, std::size_t>>{
             {"[link](https://…)", 6}, {"[1, 2]", 2}, {"[x y()]", 4}, {"[]", 2}, {"x", 1}}) {
        PythonCallsScanner other;
        EXPECT_EQ(other.push(text), n_taken) << text;
        EXPECT_TRUE(other.invalid()) << text;
    }
}

}  // namespace
}  // namespace greenroom::text
