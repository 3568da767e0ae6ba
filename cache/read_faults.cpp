#include "cache/read_faults.h"

#include "quant/base/error.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <optional>
#include <thread>

namespace greenroom::cache {
namespace {

constexpr std::int64_t kLongestDelayMs = 60'000;

std::optional<std::int64_t> parse_number(std::string_view text) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 1) return std::nullopt;
    return value;
}

}  // namespace

ReadFaults::ReadFaults(std::string_view rules) {
    while (!rules.empty()) {
        const std::size_t comma = std::min(rules.find(','), rules.size());
        rules_.push_back(parse_rule(rules.substr(0, comma)));
        rules.remove_prefix(std::min(comma + 1, rules.size()));
    }
}

ReadFaults::Rule ReadFaults::parse_rule(std::string_view text) {
    const auto refuse = [text] {
        fail(ErrorKind::bad_input,
             "GREENROOM_READ_FAULTS: rule '{}'; expected eio, short, eof or delay_ms=N, then @N, @N+ or @*N",
             text);
    };
    const std::size_t at = text.find('@');
    if (at == std::string_view::npos) refuse();
    std::string_view what = text.substr(0, at);
    std::string_view when = text.substr(at + 1);

    Rule rule;
    if (what == "eio") {
        rule.kind = Kind::eio;
    } else if (what == "short") {
        rule.kind = Kind::cut_short;
    } else if (what == "eof") {
        rule.kind = Kind::eof;
    } else if (constexpr std::string_view kDelay = "delay_ms="; what.starts_with(kDelay)) {
        const auto delay_ms = parse_number(what.substr(kDelay.size()));
        if (!delay_ms || *delay_ms > kLongestDelayMs) refuse();
        rule.kind = Kind::delay;
        rule.delay_ms = *delay_ms;
    } else {
        refuse();
    }

    const bool from_there_on = when.ends_with('+');
    const bool each_nth = when.starts_with('*');
    if (from_there_on) when.remove_suffix(1);
    if (each_nth) when.remove_prefix(1);
    const auto number = parse_number(when);
    if (!number || (from_there_on && each_nth)) refuse();
    rule.first = *number;
    rule.every = each_nth ? *number : from_there_on ? 1 : 0;
    return rule;
}

void ReadFaults::before_read() noexcept {
    const std::int64_t read = n_begun_.fetch_add(1, std::memory_order_relaxed) + 1;
    std::int64_t delay_ms = 0;
    for (const Rule& rule : rules_)
        if (rule.kind == Kind::delay && rule.applies_to(read)) delay_ms += rule.delay_ms;
    if (delay_ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
}

std::int64_t ReadFaults::after_read(std::int64_t result, std::int64_t alignment) noexcept {
    const std::int64_t read = n_ended_.fetch_add(1, std::memory_order_relaxed) + 1;
    for (const Rule& rule : rules_) {
        if (!rule.applies_to(read)) continue;
        if (rule.kind == Kind::eio) return -EIO;
        if (rule.kind == Kind::eof) return 0;
        if (rule.kind == Kind::cut_short && result > alignment)
            return std::max(result / 2 / alignment, std::int64_t{1}) * alignment;
    }
    return result;
}

}  // namespace greenroom::cache
