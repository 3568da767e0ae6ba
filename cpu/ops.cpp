#include "cpu/ops.h"

#include "cpu/row_run.h"

#include <algorithm>

namespace greenroom::cpu {

std::int64_t Ops::scratch_floats_needed(std::int64_t max_row, std::int64_t max_experts,
                                        std::int64_t max_kv_row, std::int64_t indexer_row,
                                        std::int64_t context_tokens) noexcept {
    return std::max({tile_floats(max_row), 2 * max_experts, attention_scratch_floats(max_kv_row),
                     indexer_row == 0 ? 0 : indexer_scratch_floats(context_tokens, indexer_row)});
}

}  // namespace greenroom::cpu
