#include "cpu/ops.h"

#include "cpu/row_tile.h"

#include <algorithm>

namespace greenroom::cpu {

std::int64_t Ops::scratch_floats_needed(std::int64_t max_row, std::int64_t max_experts,
                                        std::int64_t context_tokens, std::int64_t max_kv_row) noexcept {
    // Two tiles: run_experts() holds a gate and an up tile at once.
    return std::max(
        {2 * tile_floats(max_row), 2 * max_experts, attention_scratch_floats(context_tokens, max_kv_row)});
}

}  // namespace greenroom::cpu
