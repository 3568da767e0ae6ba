#pragma once

// Instruction sets that kernels come in, and which of them this CPU can run. Chosen once per process;
// GREENROOM_ISA=scalar|avx2|avxvnni|avx512 in the environment forces one.

#include <string_view>
#include <vector>

// Each SIMD variant of a kernel carries its own target, so that no other code is compiled for it.
#define GR_AVX2 [[gnu::target("avx2,fma,f16c")]]
#define GR_AVX512 [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]]

namespace greenroom::cpu {

enum class Isa { scalar, avx2, avx_vnni, avx512 };

std::string_view isa_name(Isa isa) noexcept;

// In rising order; scalar is always there. avx_vnni means AVX2 with byte products in one instruction (Alder
// Lake and later, Zen 5), avx512 F+BW+DQ+VL+VNNI (Cascade Lake, Zen 4 and later).
std::vector<Isa> available_isas();

// The best available one, or the one that GREENROOM_ISA names. Error{bad_input} for an unknown name,
// {unsupported} for one that this CPU lacks.
Isa select_isa();

}  // namespace greenroom::cpu
