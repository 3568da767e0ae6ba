#pragma once

// Signals: Ctrl-C asks the work at hand to stop, a second Ctrl-C ends the program.

#include <atomic>

namespace greenroom::tools {

// From here on the first SIGINT sets the flag, which is clear now, instead of ending the program. The flag
// lives as long as the process.
const std::atomic<bool>& catch_interrupt();

// From here on SIGINT ends the program again.
void release_interrupt();

// Makes writing to a closed pipe or past a file size limit an error of the write instead of the end of the
// program.
void ignore_write_signals();

}  // namespace greenroom::tools
