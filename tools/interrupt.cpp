#include "tools/interrupt.h"

#include <csignal>

namespace greenroom::tools {
namespace {

// A signal handler reaches nothing but globals. Set by the handler, cleared by catch_interrupt().
std::atomic<bool> g_interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a handler may touch lock-free atomics only");

void on_interrupt(int /*signal*/) { g_interrupted.store(true, std::memory_order_relaxed); }

}  // namespace

const std::atomic<bool>& catch_interrupt() {
    g_interrupted.store(false, std::memory_order_relaxed);
    struct sigaction action {};
    action.sa_handler = on_interrupt;
    action.sa_flags =
        static_cast<int>(SA_RESETHAND | SA_RESTART);  // the second SIGINT finds the default: the end
    sigaction(SIGINT, &action, nullptr);
    return g_interrupted;
}

void release_interrupt() { std::signal(SIGINT, SIG_DFL); }

void ignore_write_signals() {
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace greenroom::tools
