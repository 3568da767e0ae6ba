#include "runtime/text/jinja/date_time.h"

#include "quant/base/error.h"

#include <array>
#include <charconv>
#include <ctime>
#include <optional>

namespace greenroom::text::jinja {
namespace {

// Takes exactly n digits from the front.
std::optional<int> take_number(std::string_view& text, std::size_t n) {
    int value = 0;
    if (text.size() < n || text.front() == '-') return std::nullopt;
    const auto parsed = std::from_chars(text.data(), text.data() + n, value);
    if (parsed.ptr != text.data() + n) return std::nullopt;
    text.remove_prefix(n);
    return value;
}

bool take(std::string_view& text, char c) {
    if (!text.starts_with(c)) return false;
    text.remove_prefix(1);
    return true;
}

std::tm to_tm(const DateTime& time) {
    std::tm tm{};
    tm.tm_year = time.year - 1900;
    tm.tm_mon = time.month - 1;
    tm.tm_mday = time.day;
    tm.tm_hour = time.hour;
    tm.tm_min = time.minute;
    tm.tm_sec = time.second;
    return tm;
}

// With the day of the week and of the year. timegm() moves a day that does not exist to one that does.
std::tm to_full_tm(const DateTime& time) {
    std::tm tm = to_tm(time);
    timegm(&tm);
    return tm;
}

std::optional<DateTime> read(std::string_view text) {
    DateTime time;
    const auto read_part = [&](int& part, std::size_t n_digits) {
        const auto number = take_number(text, n_digits);
        part = number.value_or(0);
        return number.has_value();
    };
    const bool has_date = read_part(time.year, 4) && take(text, '-') && read_part(time.month, 2) &&
                          take(text, '-') && read_part(time.day, 2);
    const bool is_complete = has_date && (text.empty() || (take(text, 'T') && read_part(time.hour, 2) &&
                                                           take(text, ':') && read_part(time.minute, 2) &&
                                                           take(text, ':') && read_part(time.second, 2)));
    if (!is_complete || !text.empty()) return std::nullopt;
    const bool is_time = time.hour < 24 && time.minute < 60 && time.second < 60;
    const bool is_day = time.year > 0 && time.month >= 1 && to_full_tm(time).tm_mday == time.day &&
                        to_full_tm(time).tm_mon == time.month - 1;
    return is_time && is_day ? std::optional(time) : std::nullopt;
}

}  // namespace

DateTime DateTime::now() {
    const std::time_t now = std::time(nullptr);
    std::tm tm{};
    localtime_r(&now, &tm);
    return {tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec};
}

DateTime DateTime::parse(std::string_view text) {
    const auto time = read(text);
    if (!time) fail(ErrorKind::bad_input, "'{}' is no time; write one like 2026-03-05T14:07:09", text);
    return *time;
}

std::string DateTime::format(std::string_view format) const {
    static constexpr std::string_view kDirectives = "aAbBcCdDeFgGhHIjklmMnpPrRStTuUVwWxXyY%";
    static constexpr std::string_view kPaddings = "-_0^#";  // glibc's
    const std::tm tm = to_full_tm(*this);
    std::string out;
    while (!format.empty()) {
        std::size_t size = format.front() == '%' && format.size() > 1 ? 2 : 1;
        if (size == 2 && kPaddings.find(format[1]) != kPaddings.npos && format.size() > 2) size = 3;
        const std::string directive(format.substr(0, size));
        format.remove_prefix(size);
        const char letter = directive.back();
        if (size == 1 || (kDirectives.find(letter) == kDirectives.npos && letter != 'f' && letter != 'z' &&
                          letter != 'Z')) {
            out += directive;
        } else if (letter == 'f') {
            out += "000000";  // microseconds
        } else if (letter != 'z' && letter != 'Z') {
            std::array<char, 64> buffer{};
            out.append(buffer.data(), std::strftime(buffer.data(), buffer.size(), directive.c_str(), &tm));
        }
    }
    return out;
}

}  // namespace greenroom::text::jinja
