#pragma once

// GR_CHECK for launchers: an invariant of our own code, checked in every build, which throws Error{internal}.
// A header of its own because nvcc refuses the compile-time format strings of quant/base/error.h.

namespace greenroom::gpu {

[[noreturn]] void launch_check_failed(const char* file, int line, const char* condition);

}  // namespace greenroom::gpu

#define GR_LAUNCH_CHECK(condition)                                                 \
    do {                                                                           \
        if (!(condition)) [[unlikely]]                                             \
            ::greenroom::gpu::launch_check_failed(__FILE__, __LINE__, #condition); \
    } while (false)
