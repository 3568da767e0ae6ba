#include "cpu/kv_rows.h"

#include "quant/encode.h"

#include <cassert>

namespace greenroom::cpu {

void store_rows(const KvRows& rows, std::int64_t first_position, ConstMatrixView from) {
    assert(from.n_cols == rows.n_values && from.n_rows <= rows.n_rows);
    for (std::int64_t t = 0; t < from.n_rows; ++t)
        quant::encode_row(rows.type, from.row(t), rows.row(first_position + t), from.n_cols);
}

}  // namespace greenroom::cpu
