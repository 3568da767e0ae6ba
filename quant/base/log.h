#pragma once

// Log lines and progress reports. Libraries never print: they call these, and the program decides where it
// goes. Without a sink everything is dropped. May be called by any thread.

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>

namespace greenroom {

enum class LogLevel { debug, info, warning };

using LogSink = void (*)(LogLevel level, std::string_view line);

// Sets the process's only sink; nullptr drops everything (the default). Called once by main().
void set_log_sink(LogSink sink) noexcept;

void log_line(LogLevel level, std::string_view line);

template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
    log_line(LogLevel::info, fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
    log_line(LogLevel::warning, fmt::format(format, std::forward<Args>(args)...));
}

// Called now and then during long work with how much of it is done; done == total ends it. Must be cheap and
// not throw.
using ProgressFn = std::function<void(std::string_view what, std::int64_t done, std::int64_t total)>;

}  // namespace greenroom
