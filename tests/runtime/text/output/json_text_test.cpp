// JSON as text: the scanner against a JSON library, and values that keep their spelling.

#include "runtime/text/output/json_text.h"

#include "runtime/text/output/json_scanner.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <random>
#include <string>
#include <vector>

namespace greenroom::text {
namespace {

const std::vector<std::string> kValues = {
    R"({"a": [1, -2.5e+1, 0, 1E2, 0.25], "b": {"c": null, "d": true, "e": false}, "": ""})",
    R"(["\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00", [], {}, [[[]]], " { [ "])",
    R"("text")",
    "-0.5e-3",
    "12",
    "null",
    " [ 1 , 2 ] ",
};

TEST(JsonScanner, AgreesWithALibraryOnValuesAndOnBrokenOnes) {
    const unsigned seed = std::random_device{}();
    std::mt19937 random(seed);
    const std::string marks = "{}[]\",:\\ 0.eE+-tfnul\n";
    for (int i = 0; i < 20000; ++i) {
        std::string text = kValues[random() % kValues.size()];
        for (std::size_t n = random() % 3; n > 0 && !text.empty(); --n) {
            const std::size_t at = random() % text.size();
            switch (random() % 3) {
                case 0:
                    text.erase(at, 1);
                    break;
                case 1:
                    text[at] = marks[random() % marks.size()];
                    break;
                default:
                    text.insert(at, 1, marks[random() % marks.size()]);
            }
        }
        // A surrogate without its other half is grammatical, and no character.
        if (text.find("\\u") != std::string::npos) continue;
        EXPECT_EQ(is_json(text), nlohmann::json::accept(text)) << text << ", seed " << seed;
    }
}

TEST(JsonScanner, FindsTheEndWhereverTheTextIsCut) {
    for (const std::string& value : kValues) {
        const std::string text = value + " behind";
        JsonScanner whole;
        const std::size_t size = whole.push(text);
        EXPECT_TRUE(whole.complete()) << value;
        EXPECT_EQ(trimmed(text.substr(0, size)), trimmed(value));
        JsonScanner scanner;
        std::size_t n_taken = 0;
        for (const char& c : text) n_taken += scanner.push({&c, 1});
        EXPECT_EQ(n_taken, size) << value;
    }
}

TEST(JsonScanner, DeepNestingIsInvalidAndNoDeepRecursion) {
    EXPECT_TRUE(is_json(std::string(256, '[') + std::string(256, ']')));
    EXPECT_FALSE(is_json(std::string(257, '[') + std::string(257, ']')));
    EXPECT_FALSE(is_json(std::string(1'000'000, '[')));
}

TEST(JsonText, MembersKeepTheSpellingOfTheirValues) {
    const auto members =
        json_members(R"( {"a" : 1.0, "b\n":12345678901234567890123 ,"c": [ 1,2 ], "a": "x" } )");
    ASSERT_TRUE(members);
    ASSERT_EQ(members->size(), 4U);
    EXPECT_EQ((*members)[0].value, "1.0");
    EXPECT_EQ((*members)[1].key, "b\n");
    EXPECT_EQ((*members)[1].value, "12345678901234567890123");
    EXPECT_EQ((*members)[2].value, "[ 1,2 ]");
    EXPECT_EQ((*members)[3].value, "\"x\"");
    EXPECT_EQ(json_members("{}")->size(), 0U);
    for (const char* other : {"", "[]", "{\"a\"}", "{\"a\": 1} x", "{\"\\ud800\": 1}"})
        EXPECT_FALSE(json_members(other)) << other;
}

TEST(JsonText, ItemsOfAnArray) {
    const auto items = json_items("[ 1.0 , {\"a\": [2]},\"x\"]");
    ASSERT_TRUE(items);
    EXPECT_EQ(*items, (std::vector<std::string_view>{"1.0", "{\"a\": [2]}", "\"x\""}));
    EXPECT_TRUE(json_items("[]")->empty());
    EXPECT_FALSE(json_items("{}"));
    EXPECT_FALSE(json_items("[1,]"));
}

TEST(JsonText, StringsAreReadAndWritten) {
    EXPECT_EQ(json_string_value(R"("a\n\u00e9\ud83d\ude00")"), "a\né😀");
    EXPECT_EQ(json_string_value("\"\\ud83d\""), std::nullopt);
    EXPECT_EQ(json_string_value("1"), std::nullopt);
    EXPECT_EQ(json_quoted("é \"x\"\n\\"), R"("é \"x\"\n\\")");
    EXPECT_EQ(json_quoted("\xff"), "\"\xEF\xBF\xBD\"");
}

TEST(JsonText, ObjectWithAKeyThatComesTwiceKeepsItsPlaceAndTheLastValue) {
    JsonObjectWriter writer;
    EXPECT_EQ(writer.text(), "{}");
    writer.add("a", "1");
    writer.add("\"", "[2]");
    writer.add("a", "3");
    EXPECT_EQ(writer.text(), R"({"a": 3, "\"": [2]})");
}

}  // namespace
}  // namespace greenroom::text
