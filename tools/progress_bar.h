#pragma once

// ProgressBar: a line on standard error that grows while something takes long. Appears on a terminal only;
// elsewhere it does nothing at all.

#include "quant/base/log.h"

#include <chrono>
#include <cstdint>
#include <string_view>

namespace greenroom::tools {

class ProgressBar {
  public:
    ProgressBar();
    ~ProgressBar() { clear(); }
    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;

    // Empty when there is no terminal. Refers to this bar.
    ProgressFn reporter();

    // Takes the line off the screen, for other text to follow.
    void clear() noexcept;

  private:
    void show(std::string_view what, std::int64_t done, std::int64_t total);

    bool on_terminal_;
    bool visible_ = false;
    std::chrono::steady_clock::time_point last_shown_{};
};

}  // namespace greenroom::tools
