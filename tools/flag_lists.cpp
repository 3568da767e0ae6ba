#include "tools/flag_lists.h"

#include "tools/options.h"

#include <fmt/format.h>

#include <cstddef>
#include <string_view>

namespace greenroom::tools {

std::vector<std::string> split_lists(const std::string& flag, const std::vector<std::string>& texts) {
    std::vector<std::string> values;
    for (const std::string& text : texts)
        for (std::string_view rest = text;;) {
            const std::string_view value = rest.substr(0, rest.find(','));
            if (value.empty())
                bad_usage(
                    flag,
                    fmt::format("found '{}', expected a value, or several with commas between them", text));
            values.emplace_back(value);
            if (value.size() == rest.size()) break;
            rest.remove_prefix(value.size() + 1);
        }
    return values;
}

void FlagListTexts::add_to(CLI::App& app, const CLI::App& single) {
    for (const CLI::Option* option : single.get_options()) {
        if (option == single.get_help_ptr()) continue;
        List& list = lists_.emplace_back(List{"--" + option->get_lnames().front(), {}});
        app.add_option(option->get_name(false, true), list.texts, option->get_description())
            ->allow_extra_args(false)
            ->type_name(option->get_type_name())
            ->default_str(option->get_default_str())
            ->group(option->get_group());
    }
}

std::vector<std::vector<GivenFlag>> FlagListTexts::combinations() const {
    constexpr std::size_t kMost = 10'000;
    std::vector<std::vector<GivenFlag>> combinations(1);
    for (const List& list : lists_) {
        if (list.texts.empty()) continue;
        const std::vector<std::string> values = split_lists(list.name, list.texts);
        if (values.size() > kMost / combinations.size())
            bad_usage(list.name,
                      fmt::format("found {} values, which make {} combinations with the other lists; "
                                  "expected at most {}",
                                  values.size(), values.size() * combinations.size(), kMost));
        std::vector<std::vector<GivenFlag>> longer;
        for (const std::vector<GivenFlag>& combination : combinations)
            for (const std::string& value : values) {
                longer.push_back(combination);
                longer.back().emplace_back(list.name, value);
            }
        combinations = std::move(longer);
    }
    return combinations;
}

}  // namespace greenroom::tools
