// The type of a value that a model wrote as bare text.

#include "runtime/text/output/tool_schema.h"

#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace greenroom::text {
namespace {

constexpr std::string_view kTools = R"([
  {"type": "function", "function": {"name": "search", "parameters": {"type": "object", "properties": {
    "query": {"type": "string"}, "limit": {"type": "integer"}, "when": {"type": ["string", "null"]},
    "where": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "order": {"enum": ["up", "down"]}}}}},
  {"name": "ping"}, 5, {"function": {}}, {"name": "odd", "parameters": {"properties": []}}])";

TEST(ToolSchema, OnlyTheNamesThatItHasMayBeCalled) {
    const ToolSchema schema(kTools);
    EXPECT_TRUE(schema.allows("search"));
    EXPECT_TRUE(schema.allows("ping"));
    EXPECT_FALSE(schema.allows("delete"));
    EXPECT_FALSE(ToolSchema("[]").allows("ping"));
    EXPECT_TRUE(ToolSchema().allows("delete"));
}

TEST(ToolSchema, TextParametersStayTextAndOthersAreRead) {
    const ToolSchema schema(kTools);
    const auto value = [&schema](std::string_view parameter, std::string_view text) {
        return schema.value_json("search", parameter, text);
    };
    EXPECT_EQ(value("query", "5"), "\"5\"");
    EXPECT_EQ(value("query", " null"), "\" null\"");
    EXPECT_EQ(value("limit", " 5.0 "), "5.0");
    EXPECT_EQ(value("limit", "five"), "\"five\"");
    EXPECT_EQ(value("when", "null"), "null");
    EXPECT_EQ(value("when", "now"), "\"now\"");
    EXPECT_EQ(value("where", "None"), "null");
    EXPECT_EQ(value("where", "1"), "\"1\"");
    EXPECT_EQ(value("order", "1"), "\"1\"");
    EXPECT_EQ(value("unknown", "[1,2]"), "[1,2]");
    EXPECT_EQ(value("unknown", "{'a': True}"), "{\"a\": true}");
    EXPECT_EQ(value("unknown", "some text"), "\"some text\"");
}

TEST(ToolSchema, ToolsThatAreNoArrayAreBadInput) {
    for (const char* tools : {"", "{}", "[1", "null"})
        EXPECT_THROW(ToolSchema{std::string_view(tools)}, Error) << tools;
}

}  // namespace
}  // namespace greenroom::text
