#pragma once

// Every call of the CUDA runtime goes through cuda_check(), which turns a refusal into an Error that says
// what we were doing and leaves nothing behind for the next call to trip over.

#include "quant/base/error.h"

#include <fmt/format.h>

#include <string>
#include <utility>

namespace greenroom::gpu {

// Throws for a status (a cudaError_t) other than success: Error{out_of_memory} if that is what it says, else
// Error{device}. Clears the thread's last CUDA error, as far as it can be: a lost device stays lost, and the
// message says so.
[[noreturn]] void cuda_fail(int status, const std::string& doing);

// doing: what the call was for, with sizes, after which ": " and CUDA's answer follow. Formatted only on
// failure.
template <class... Args>
void cuda_check(int status, fmt::format_string<Args...> doing, Args&&... args) {
    if (status != 0) [[unlikely]]
        cuda_fail(status, fmt::format(doing, std::forward<Args>(args)...));
}

}  // namespace greenroom::gpu
