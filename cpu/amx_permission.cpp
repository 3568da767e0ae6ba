#include "cpu/amx_permission.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace greenroom::cpu {

bool request_amx() noexcept {
#if defined(__x86_64__)
    // Asked of the processor itself, since clang 14 does not know the names.
    unsigned eax = 0;
    unsigned ebx = 0;
    unsigned ecx = 0;
    unsigned edx = 0;
    __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);
    constexpr unsigned kTiles = 1U << 24;
    constexpr unsigned kByteProducts = 1U << 25;
    if ((~edx & (kTiles | kByteProducts)) != 0) return false;
    constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
    return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

}  // namespace greenroom::cpu
