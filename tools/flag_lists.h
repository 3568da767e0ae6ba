#pragma once

// FlagLists: flags that take a list of values where other commands take one, and all combinations of them.
//
//     FlagLists<Settings> lists(add_settings);   // add_settings(app, settings): -b N, -t N, …
//     lists.add_to(app);
//     …                                          // the command line is parsed: -b 128,256 -t 1 -t 2
//     lists.combinations()                       // four of Settings, as from -b 128 -t 1, -b 128 -t 2, …
//
// What a flag is called, what it means and which values it takes is said once, by the function that adds it:
// each combination is read by a program of its own that has just these flags.

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace greenroom::tools {

// "1,2" and "3" → 1, 2, 3. An empty value is bad usage of `flag`.
std::vector<std::string> split_lists(const std::string& flag, const std::vector<std::string>& texts);

// A flag that was given, and one of its values: {"--batch-size", "128"}.
using GivenFlag = std::pair<std::string, std::string>;

// The part of FlagLists that does not depend on what the flags set.
class FlagListTexts {
  public:
    // Gives app the flags of `single`, each with a value and a long name, but for lists. To be called once;
    // what app parses goes here.
    void add_to(CLI::App& app, const CLI::App& single);

    // Of the flags that were given; those of the flag added last change fastest. One, empty, where none was.
    // Bad usage for empty values and for more combinations than anybody waits for.
    std::vector<std::vector<GivenFlag>> combinations() const;

  private:
    struct List {
        std::string name;  // the long one
        std::vector<std::string> texts;
    };
    std::deque<List> lists_;  // whose addresses app keeps
};

template <class Settings>
class FlagLists {
  public:
    using AddFlags = void (*)(CLI::App& app, Settings& settings);

    struct Combination {
        Settings settings;
        std::vector<GivenFlag> given;
    };

    explicit FlagLists(AddFlags add_flags) : add_flags_(add_flags) {}

    // See FlagListTexts.
    void add_to(CLI::App& app) {
        Settings defaults;
        texts_.add_to(app, *single(defaults));
    }

    // CLI::ParseError for a value that a flag does not take.
    std::vector<Combination> combinations() const {
        std::vector<Combination> result;
        for (std::vector<GivenFlag>& given : texts_.combinations()) {
            Settings settings;
            std::vector<std::string> arguments(given.size());
            std::transform(given.begin(), given.end(), arguments.begin(), [](const GivenFlag& flag) {
                return fmt::format("{}={}", flag.first, flag.second);
            });
            single(settings)->parse(std::move(arguments));
            result.push_back({std::move(settings), std::move(given)});
        }
        return result;
    }

  private:
    // A program that has these flags with one value each, and sets them in `settings`.
    std::unique_ptr<CLI::App> single(Settings& settings) const {
        auto program = std::make_unique<CLI::App>();
        add_flags_(*program, settings);
        return program;
    }

    AddFlags add_flags_;
    FlagListTexts texts_;
};

}  // namespace greenroom::tools
