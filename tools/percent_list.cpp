#include "tools/percent_list.h"

#include "tools/options.h"
#include "tools/printable.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

namespace greenroom::tools {
namespace {

constexpr int kRangeStep = 5;

std::optional<int> parse_percent(std::string_view text) {
    int percent = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), percent);
    if (error != std::errc{} || end != text.data() + text.size() || percent < 1 || percent > 100)
        return std::nullopt;
    return percent;
}

// Appends what one part of the list says; false if it says nothing sensible.
bool append_part(std::vector<int>& percents, std::string_view part) {
    const std::size_t dots = part.find("..");
    const std::optional<int> first = parse_percent(part.substr(0, dots));
    const std::optional<int> last =
        dots == std::string_view::npos ? first : parse_percent(part.substr(dots + 2));
    if (!first || !last || *first > *last) return false;
    for (int percent = *first; percent <= *last; percent += kRangeStep) percents.push_back(percent);
    return true;
}

}  // namespace

std::vector<double> parse_percent_list(const std::string& flag, std::string_view text) {
    std::vector<int> percents;
    for (std::string_view rest = text;;) {
        const std::string_view part = rest.substr(0, rest.find(','));
        if (!append_part(percents, part))
            bad_usage(flag,
                      fmt::format("found '{}', expected percents from 1 to 100 such as 15,30,60 or 5..90",
                                  printable(part, 40)));
        if (part.size() == rest.size()) break;
        rest.remove_prefix(part.size() + 1);
    }
    std::sort(percents.begin(), percents.end());
    percents.erase(std::unique(percents.begin(), percents.end()), percents.end());
    std::vector<double> sizes;
    sizes.reserve(percents.size());
    for (const int percent : percents) sizes.push_back(percent / 100.0);
    return sizes;
}

}  // namespace greenroom::tools
