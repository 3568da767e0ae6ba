#include "cpu/attention_kernels.h"

#include "cpu/attention_simd.h"

#include <array>

namespace greenroom::cpu {
namespace {

constexpr std::array<AttentionKernels, 4> kTables{{
    {Isa::scalar, pack_keys_scalar, score_scalar, weigh_scalar, accumulate_scalar},
    {Isa::avx2, pack_keys_avx2, score_avx2, weigh_avx2, accumulate_avx2},
    {Isa::avx_vnni, pack_keys_avx2, score_avx2, weigh_avx2, accumulate_avx2},
    {Isa::avx512, pack_keys_avx512, score_avx512, weigh_avx512, accumulate_avx512},
}};

}  // namespace

const AttentionKernels& attention_kernels(Isa isa) noexcept { return kTables[static_cast<std::size_t>(isa)]; }

}  // namespace greenroom::cpu
