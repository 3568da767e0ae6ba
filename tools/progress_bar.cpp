#include "tools/progress_bar.h"

#include "tools/standard_streams.h"

#include <algorithm>

namespace greenroom::tools {
namespace {

constexpr std::string_view kClearLine = "\r\x1b[K";

}  // namespace

ProgressBar::ProgressBar() : on_terminal_(error_is_terminal()) {}

ProgressFn ProgressBar::reporter() {
    if (!on_terminal_) return {};
    return [this](std::string_view what, std::int64_t done, std::int64_t total) { show(what, done, total); };
}

void ProgressBar::clear() noexcept {
    if (visible_) write_error(kClearLine);
    visible_ = false;
}

void ProgressBar::show(std::string_view what, std::int64_t done, std::int64_t total) {
    if (done >= total) return clear();
    constexpr auto kLeastInterval = std::chrono::milliseconds(50);  // smooth to the eye, cheap for the work
    const auto now = std::chrono::steady_clock::now();
    if (visible_ && now - last_shown_ < kLeastInterval) return;
    last_shown_ = now;
    visible_ = true;

    constexpr int kCells = 30;
    const double share = std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
    const int n_full = static_cast<int>(share * kCells);
    write_error(fmt::format("{}{} [{:#<{}}{:.<{}}] {:3.0f} %", kClearLine, what, "", n_full, "",
                            kCells - n_full, share * 100));
}

}  // namespace greenroom::tools
