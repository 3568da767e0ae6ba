#include "cpu/matmul.h"

#include "cpu/decode_row.h"
#include "cpu/row_run.h"

#include <algorithm>
#include <cassert>

namespace greenroom::cpu {

void embed(ThreadTeam& team, MatrixView out, const TensorView& table, std::span<const std::int32_t> ids) {
    const quant::DecodeFn decode = find_row_decoder(table.type);
    constexpr std::int64_t kTokensPerTask = 8;
    team.parallel_for(static_cast<std::int64_t>(ids.size()), kTokensPerTask,
                      [&](std::int64_t first, std::int64_t last, int) noexcept {
                          for (std::int64_t t = first; t < last; ++t)
                              decode(table.row(ids[static_cast<std::size_t>(t)]), out.row(t),
                                     table.row_values());
                      });
}

void matmul(ThreadTeam& team, const Scratch& scratch, const ActivationBuffer& buffer,
            std::initializer_list<Product> products, ConstMatrixView x) {
    const Kernels& k = kernels();
    RunVectors vectors{x, {}};
    std::int64_t n_tiles = 0;
    bool any_in_integers = false;
    for (const Product& product : products) {
        assert(x.n_cols == product.w.row_values() && product.out.n_cols == product.w.shape[1]);
        assert(product.out.n_rows == x.n_rows);
        assert(scratch.floats_per_thread() >= tile_floats(product.w.row_values()));
        n_tiles += tiles_of(product.w.shape[1]);
        any_in_integers = any_in_integers || choose_quant_dot(k, product.w.type, buffer) != nullptr;
    }
    if (any_in_integers) {
        vectors.quantized = buffer.rows(x.n_rows, x.n_cols);
        quantize_rows(team, vectors.quantized, x);
    }
    const VectorParts parts(x.n_rows, vectors_at_a_time(k, x.n_cols));
    // The tiles [first, last) of all products and a part of the vectors.
    const auto multiply = [&](std::int64_t part, std::int64_t first, std::int64_t last, int thread) noexcept {
        const std::int64_t first_token = parts.first(part);
        PackedInScratch packed;
        for (const Product& product : products) {  // of which [first, last) are those tiles
            const std::int64_t end = tiles_of(product.w.shape[1]);
            if (first < end && last > 0) {
                const RowRun run(k, choose_quant_dot(k, product.w.type, buffer), buffer.planes().resident,
                                 product.w, std::max<std::int64_t>(first, 0) * kTileRows,
                                 std::min(last * kTileRows, product.w.shape[1]), scratch.of(thread));
                run.multiply(
                    parts.size(part), vectors, [=](std::int64_t j) { return first_token + j; },
                    [&](std::int64_t j, std::int64_t row, const float* dots, int n) {
                        store_dots(product.out.row(first_token + j) + row, dots, n);
                    },
                    packed);
            }
            first -= end;
            last -= end;
        }
    };
    for_each_range(team, parts.n_parts() * n_tiles, x.n_rows,
                   [&](std::int64_t first, std::int64_t last, int thread) noexcept {
                       while (first < last) {
                           const std::int64_t part = first / n_tiles;
                           const std::int64_t end = std::min(last, (part + 1) * n_tiles);
                           multiply(part, first - part * n_tiles, end - part * n_tiles, thread);
                           first = end;
                       }
                   });
}

void matmul_heads(ThreadTeam& team, const Scratch& scratch, const ActivationBuffer& buffer, MatrixView out,
                  std::int64_t out_stride, const TensorView& w, ConstMatrixView x, std::int64_t x_stride) {
    const std::int64_t n_heads = w.shape[2];
    const std::int64_t n_in = w.row_values();
    const std::int64_t n_out = w.shape[1];
    assert(x.n_cols >= (n_heads - 1) * x_stride + n_in && out.n_cols >= (n_heads - 1) * out_stride + n_out);
    assert(scratch.floats_per_thread() >= tile_floats(n_in));
    const Kernels& k = kernels();
    const QuantDot* quant_dot = choose_quant_dot(k, w.type, buffer);
    ActivationRows quantized;
    if (quant_dot != nullptr) {
        quantized = buffer.rows(n_heads * x.n_rows, n_in);
        quantize_heads(team, quantized, x, n_heads, n_in, x_stride);
    }
    const VectorParts parts(x.n_rows, vectors_at_a_time(k, n_in));
    // The heads of the first part of the tokens, of the second, …
    for_each_run(team, parts.n_parts() * n_heads, n_out, x.n_rows,
                 [&](std::int64_t part_and_head, std::int64_t first, std::int64_t last, int thread) noexcept {
                     const std::int64_t head = part_and_head % n_heads;
                     const std::int64_t part = part_and_head / n_heads;
                     const std::int64_t first_token = parts.first(part);
                     const RunVectors vectors{x.columns(head * x_stride, n_in), quantized};
                     const RowRun run(k, quant_dot, buffer.planes().resident, w.matrix(head), first, last,
                                      scratch.of(thread));
                     // This head's vector of a token: of the floats, or of the quantized rows, which hold all
                     // heads.
                     const auto index = [=](std::int64_t j) {
                         return quant_dot == nullptr ? first_token + j : (first_token + j) * n_heads + head;
                     };
                     PackedInScratch packed;
                     run.multiply(
                         parts.size(part), vectors, index,
                         [&](std::int64_t j, std::int64_t row, const float* dots, int n) {
                             store_dots(out.row(first_token + j) + head * out_stride + row, dots, n);
                         },
                         packed);
                 });
}

void matmul_heads_transposed(ThreadTeam& team, const Scratch& scratch, MatrixView out,
                             std::int64_t out_stride, const TensorView& w, ConstMatrixView x,
                             std::int64_t x_stride) {
    const std::int64_t n_heads = w.shape[2];
    const std::int64_t n_out = w.row_values();
    assert(x.n_cols >= (n_heads - 1) * x_stride + w.shape[1] &&
           out.n_cols >= (n_heads - 1) * out_stride + n_out);
    const Kernels& k = kernels();
    const quant::DecodeFn decode = find_row_decoder(w.type);
    team.parallel_for(n_heads, 1, [&](std::int64_t head, std::int64_t, int thread) noexcept {
        const TensorView matrix = w.matrix(head);
        float* row = scratch.of(thread);
        for (std::int64_t t = 0; t < x.n_rows; ++t) std::fill_n(out.row(t) + head * out_stride, n_out, 0.0F);
        for (std::int64_t r = 0; r < matrix.shape[1]; ++r) {
            decode(matrix.row(r), row, n_out);
            for (std::int64_t t = 0; t < x.n_rows; ++t)
                k.axpy_f32(out.row(t) + head * out_stride, x.row(t)[head * x_stride + r], row, n_out);
        }
    });
}

}  // namespace greenroom::cpu
