#pragma once

// Instruction sets that kernels come in, and which of them this CPU can run. Chosen once per process;
// GREENROOM_ISA=scalar|avx2|avxvnni|avx512|avx512vbmi|amx in the environment forces one.

#include <cstddef>
#include <string_view>
#include <vector>

// Each SIMD variant of a kernel carries its own target, so that no other code is compiled for it.
#define GR_AVX2 [[gnu::target("avx2,fma,f16c")]]
#define GR_AVX512 [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]]

namespace greenroom::cpu {

enum class Isa { scalar, avx2, avx_vnni, avx512, avx512_vbmi, amx };
inline constexpr std::size_t kIsas = 6;

std::string_view isa_name(Isa isa) noexcept;

// In rising order; scalar is always there. avx_vnni means AVX2 with byte products in one instruction (Alder
// Lake and later, Zen 5), avx512 F+BW+DQ+VL+VNNI (Cascade Lake, Zen 4 and later), avx512_vbmi these and
// permutations of the bytes of whole vectors (Ice Lake, Zen 4 and later), amx these and products of tiles of
// bytes (Sapphire Rapids and later), which the system must have granted to the process.
std::vector<Isa> available_isas();

// The one whose kernels serve where an ISA adds nothing of use: scalar, avx2 or avx512.
constexpr Isa vectors_of(Isa isa) noexcept {
    switch (isa) {
        case Isa::avx_vnni:
            return Isa::avx2;
        case Isa::avx512_vbmi:
        case Isa::amx:
            return Isa::avx512;
        default:
            return isa;
    }
}

// The best available one, or the one that GREENROOM_ISA names. Error{bad_input} for an unknown name,
// {unsupported} for one that this CPU lacks.
Isa select_isa();

}  // namespace greenroom::cpu
