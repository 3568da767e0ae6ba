#include "cpu/kv_rows.h"

#include "quant/encode.h"

#include <cassert>

namespace greenroom::cpu {

void store_rows(const KvRows& rows, std::int64_t first_position, ConstMatrixView from) {
    assert(from.n_cols == rows.n_heads * rows.n_values && from.n_rows <= rows.n_rows);
    for (std::int64_t t = 0; t < from.n_rows; ++t)
        for (int h = 0; h < rows.n_heads; ++h)
            quant::encode_row(rows.type, from.row(t) + h * rows.n_values, rows.row(first_position + t, h),
                              rows.n_values);
}

}  // namespace greenroom::cpu
