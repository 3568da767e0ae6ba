#include "tools/memory_size.h"

#include "tools/options.h"
#include "tools/printable.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>
#include <string_view>

namespace greenroom::tools {
namespace {

struct Unit {
    std::string_view name;  // in small letters
    double bytes;
};

constexpr std::array<Unit, 13> kUnits{{{"", 1},
                                       {"k", 0x1p10},
                                       {"kib", 0x1p10},
                                       {"kb", 1e3},
                                       {"m", 0x1p20},
                                       {"mib", 0x1p20},
                                       {"mb", 1e6},
                                       {"g", 0x1p30},
                                       {"gib", 0x1p30},
                                       {"gb", 1e9},
                                       {"t", 0x1p40},
                                       {"tib", 0x1p40},
                                       {"tb", 1e12}}};

std::string in_small_letters(std::string_view text) {
    std::string small(text);
    std::transform(small.begin(), small.end(), small.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return small;
}

// Nothing if the text is no size above 0 that an int64 holds. From 2^53 bytes on they are rounded.
std::optional<MemorySize> parse(std::string_view text) {
    // from_chars() would take "-1" and "inf", too.
    if (text.empty() || std::isdigit(static_cast<unsigned char>(text.front())) == 0) return std::nullopt;
    double number = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc{}) return std::nullopt;
    const std::string unit = in_small_letters(text.substr(static_cast<std::size_t>(end - text.data())));
    if (unit == "%")
        return number > 0 && number <= 100 ? std::optional(MemorySize{.percent = number}) : std::nullopt;
    const auto* found =
        std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return u.name == unit; });
    if (found == kUnits.end()) return std::nullopt;
    const double bytes = number * found->bytes;
    if (!(bytes >= 1) || bytes >= 0x1p63) return std::nullopt;
    return MemorySize{.bytes = static_cast<std::int64_t>(bytes)};
}

}  // namespace

std::int64_t MemorySize::of(std::int64_t free_bytes) const noexcept {
    if (percent >= 100) return free_bytes;  // which a double may not hold
    if (percent > 0) return static_cast<std::int64_t>(static_cast<double>(free_bytes) * (percent / 100));
    return bytes;
}

MemorySize parse_memory_size(const std::string& flag, const std::string& text) {
    const std::optional<MemorySize> size = parse(text);
    if (!size)
        bad_usage(flag, fmt::format("found '{}', expected a size such as 8GiB, 512M, 1.5G or 1500000000, or "
                                    "a share of what is free, up to 100%, such as 50%",
                                    printable(text, 40)));
    return *size;
}

}  // namespace greenroom::tools
