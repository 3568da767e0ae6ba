// Flags that take lists, and their combinations.

#include "tools/flag_lists.h"

#include "tools/options.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace greenroom::tools {
namespace {

struct Settings {
    int width = 7;
    std::string colour = "red";

    static void add_flags(CLI::App& app, Settings& settings) {
        app.add_option("-w,--width", settings.width, "How wide")
            ->check(whole_number(1, 9))
            ->capture_default_str();
        app.add_option("--colour", settings.colour, "Which colour")->capture_default_str();
    }
};

std::vector<FlagLists<Settings>::Combination> combinations(std::vector<std::string> arguments) {
    CLI::App app;
    FlagLists<Settings> lists(Settings::add_flags);
    lists.add_to(app);
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    return lists.combinations();
}

std::string error_of(const std::vector<std::string>& arguments) {
    try {
        combinations(arguments);
    } catch (const CLI::ParseError& error) {
        return error.what();
    }
    return "";
}

TEST(FlagLists, NoFlagIsOneCombinationOfDefaults) {
    const auto found = combinations({});
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].settings.width, 7);
    EXPECT_EQ(found[0].settings.colour, "red");
    EXPECT_TRUE(found[0].given.empty());
}

TEST(FlagLists, CommasAndRepetitionsGiveAllCombinations) {
    const auto found = combinations({"--colour", "blue,green", "-w", "1,2", "--width=3"});
    std::vector<std::pair<int, std::string>> values;
    for (const auto& [settings, given] : found) values.emplace_back(settings.width, settings.colour);
    const std::vector<std::pair<int, std::string>> expected = {{1, "blue"},  {1, "green"}, {2, "blue"},
                                                               {2, "green"}, {3, "blue"},  {3, "green"}};
    EXPECT_EQ(values, expected);
    EXPECT_EQ(found[3].given, (std::vector<GivenFlag>{{"--width", "2"}, {"--colour", "green"}}));
}

TEST(FlagLists, EachValueIsCheckedAsTheFlagDoes) {
    EXPECT_EQ(error_of({"-w", "1,10"}), "--width: found '10', expected a whole number from 1 to 9");
    EXPECT_NE(error_of({"-w", "1,-1"}).find("'-1'"), std::string::npos);
}

TEST(FlagLists, EmptyValuesAreRefused) {
    for (const char* value : {"", ",", "1,", ",1", "1,,2"})
        EXPECT_NE(error_of({"-w", value}).find("--width: found '" + std::string(value) + "'"),
                  std::string::npos)
            << error_of({"-w", value});
}

TEST(FlagLists, MoreCombinationsThanAnybodyWaitsForAreRefused) {
    std::string many = "1";
    for (int i = 0; i < 150; ++i) many += ",1";
    EXPECT_EQ(error_of({"-w", many}), "");
    EXPECT_NE(error_of({"-w", many, "--colour", many}).find("22801 combinations"), std::string::npos);
}

TEST(FlagLists, HelpIsThatOfTheFlags) {
    CLI::App app;
    FlagLists<Settings> lists(Settings::add_flags);
    lists.add_to(app);
    EXPECT_NE(app.help().find("-w,--width"), std::string::npos) << app.help();
    EXPECT_NE(app.help().find("=7"), std::string::npos) << app.help();
    EXPECT_NE(app.help().find("How wide"), std::string::npos) << app.help();
}

}  // namespace
}  // namespace greenroom::tools
