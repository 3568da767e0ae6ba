#include "cpu/isa.h"

#include "cpu/amx_permission.h"
#include "quant/base/error.h"

#include <algorithm>
#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace greenroom::cpu {
namespace {

#if defined(__x86_64__)
// Asked of the processor itself, since clang 14 does not know the name.
bool has_avx_vnni() noexcept {
    unsigned eax = 0;
    unsigned ebx = 0;
    unsigned ecx = 0;
    unsigned edx = 0;
    __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx);
    return (eax & 1U << 4) != 0;
}
#endif

}  // namespace

std::string_view isa_name(Isa isa) noexcept {
    switch (isa) {
        case Isa::scalar:
            return "scalar";
        case Isa::avx2:
            return "avx2";
        case Isa::avx_vnni:
            return "avxvnni";
        case Isa::avx512:
            return "avx512";
        case Isa::avx512_vbmi:
            return "avx512vbmi";
        case Isa::amx:
            return "amx";
    }
    return "unknown";
}

std::vector<Isa> available_isas() {
    std::vector<Isa> isas{Isa::scalar};
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2) isas.push_back(Isa::avx2);
    if (avx2 && has_avx_vnni()) isas.push_back(Isa::avx_vnni);
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni")) {
        isas.push_back(Isa::avx512);
        if (__builtin_cpu_supports("avx512vbmi")) {
            isas.push_back(Isa::avx512_vbmi);
            if (request_amx()) isas.push_back(Isa::amx);
        }
    }
#endif
    return isas;
}

Isa select_isa() {
    const std::vector<Isa> available = available_isas();
    const char* forced = std::getenv("GREENROOM_ISA");
    if (forced == nullptr || *forced == '\0') return available.back();
    for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx_vnni, Isa::avx512, Isa::avx512_vbmi, Isa::amx}) {
        if (isa_name(isa) != forced) continue;
        if (std::find(available.begin(), available.end(), isa) == available.end())
            fail(ErrorKind::unsupported, "GREENROOM_ISA={}: this CPU lacks it; the best it has is {}", forced,
                 isa_name(available.back()));
        return isa;
    }
    fail(ErrorKind::bad_input, "GREENROOM_ISA={}: expected scalar, avx2, avxvnni, avx512, avx512vbmi or amx",
         forced);
}

}  // namespace greenroom::cpu
