#pragma once

// DateTime: the time that strftime_now tells a template.

#include <string>
#include <string_view>

namespace greenroom::text::jinja {

struct DateTime {
    int year = 1970;
    int month = 1;  // 1 to 12
    int day = 1;    // 1 to 31
    int hour = 0;
    int minute = 0;
    int second = 0;

    // The machine's, in its time zone.
    static DateTime now();

    // "2026-03-05T14:07:09" or "2026-03-05". Error{bad_input} for anything else and for days that no calendar
    // has.
    static DateTime parse(std::string_view text);

    // Python's datetime.strftime(), in English. Directives that need a time zone print nothing, as Python's
    // do for a time without one; a directive that is not known is copied.
    std::string format(std::string_view format) const;
};

}  // namespace greenroom::text::jinja
