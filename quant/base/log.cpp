#include "quant/base/log.h"

#include <atomic>

namespace greenroom {
namespace {

// The one mutable global: a log line can come from any depth. Set by main() before threads start.
std::atomic<LogSink> g_sink{nullptr};

}  // namespace

void set_log_sink(LogSink sink) noexcept { g_sink.store(sink, std::memory_order_release); }

void log_line(LogLevel level, std::string_view line) {
    // Pairs with the release store in set_log_sink().
    if (const LogSink sink = g_sink.load(std::memory_order_acquire)) sink(level, line);
}

}  // namespace greenroom
