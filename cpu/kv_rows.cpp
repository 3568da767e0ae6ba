#include "cpu/kv_rows.h"

#include "cpu/encode_row.h"
#include "quant/base/error.h"

#include <algorithm>
#include <cassert>

namespace greenroom::cpu {

void store_rows(ThreadTeam& team, const KvRows& rows, std::int64_t first_position, ConstMatrixView from) {
    assert(from.n_cols == rows.n_heads * rows.n_values && from.n_rows <= rows.n_rows);
    const quant::EncodeFn encode = find_row_encoder(rows.type);
    GR_CHECK(encode != nullptr && rows.n_values % quant::type_info(rows.type).block_values == 0);
    constexpr std::int64_t kValuesPerTask = 4096;
    const std::int64_t grain = std::max<std::int64_t>(1, kValuesPerTask / from.n_cols);
    team.parallel_for(from.n_rows, grain, [&](std::int64_t first, std::int64_t last, int) noexcept {
        for (std::int64_t t = first; t < last; ++t)
            for (int h = 0; h < rows.n_heads; ++h)
                encode(from.row(t) + h * rows.n_values, rows.row(first_position + t, h), rows.n_values);
    });
}

}  // namespace greenroom::cpu
