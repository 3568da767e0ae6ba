// The hit experts of one layer:  results[c] = down · glu(gate · x[t], up · x[t])  for every hit c = (t,
// rank).
//
// The order of work: the vectors of x to integers or halves; gate and up with their join, in one kernel over
// all hits (two if the types differ: gate, then up with the join); the hidden rows of the hits to integers or
// halves; down; and add_weighted() over the ranks of each token. In float32 the conversions are left out.
// expert_rows.cuh and expert_tiles.cu are the kernels; what they read, what bounds them and what they may be
// off by is said there and in matvec.cu and gemm.cu.
//
// add_weighted: a block per token and 256 values. Reads a row of results per hit; bound by memory.

#include "gpu/kernels/expert_ffn.h"

#include "gpu/blocks.cuh"
#include "gpu/device.cuh"
#include "gpu/kernels/expert_product.cuh"
#include "gpu/kernels/gemm.h"
#include "gpu/kernels/matvec.h"
#include "gpu/kernels/quantize.h"
#include "gpu/launch_check.h"

#include <algorithm>

namespace greenroom::gpu {
namespace {

constexpr int kThreads = 256;

// Calls per expert, on average, from which on tiles of 64 calls are taken: below, dot products read an expert
// once, too, and most of a tile would be empty. Where tiles begin to pay is not measured.
constexpr std::int64_t kTileCalls = 8;

bool takes_tiles(const ExpertLayer& layer, std::int64_t n_tokens) {
    return n_tokens * layer.top_k >= kTileCalls * layer.n_experts;
}

std::int64_t vector_bytes(quant::Type type, Activations activations, bool tiles, std::int64_t n_vectors,
                          std::int64_t n_values) {
    if (tiles) return takes_halves(type, activations) ? half_rows_bytes(n_vectors, n_values) : 0;
    return takes_integers(type, activations) ? activation_bytes(n_vectors, n_values) : 0;
}

// One layer's launches, with what they have in common.
class Run {
  public:
    Run(Stream& stream, const ExpertLayer& layer, const HitGroups& hits, std::int64_t n_tokens,
        Activations activations, std::span<std::byte> scratch)
        : stream_(stream),
          layer_(layer),
          hits_(hits),
          n_tokens_(n_tokens),
          activations_(activations),
          scratch_(scratch),
          tiles_(takes_tiles(layer, n_tokens)) {}

    // Prepares vectors for products with matrices of this type. listed: only those of the hits, a row per
    // call.
    void prepare(quant::Type type, ConstMatrixView x, bool listed) {
        floats_ = x;
        GR_LAUNCH_CHECK(static_cast<std::int64_t>(scratch_.size()) >=
                        vector_bytes(type, activations_, tiles_, x.n_rows, x.n_cols));
        if (tiles_ && takes_halves(type, activations_)) {
            halves_ = half_rows_in(scratch_.data(), x.n_rows, x.n_cols);
            if (listed)
                convert_listed_rows(stream_, halves_, x, hits_.calls, hits_.first, hits_.n_groups, x.n_rows);
            else
                convert_rows(stream_, halves_, x, 1, x.n_cols, 0);
        } else if (!tiles_ && takes_integers(type, activations_)) {
            integers_ = {reinterpret_cast<ActivationBlock*>(scratch_.data()),
                         x.n_cols / ActivationBlock::kValues};
            if (listed)
                quantize_listed_rows(stream_, integers_, x, hits_.calls, hits_.first, hits_.n_groups,
                                     x.n_rows);
            else
                quantize_rows(stream_, integers_, x, 1, x.n_cols, 0);
        }
    }

    void multiply(const ExpertMatrix& matrix, ExpertProduct product) {
        GR_LAUNCH_CHECK(matrix.offset % matrix_alignment(matrix.type) == 0);
        product.row_bytes = quant::row_bytes(matrix.type, product.n_values);
        const ExpertLaunch launch{product,   hits_,     matrix.type, std::min(layer_.n_experts, n_calls()),
                                  n_tokens_, integers_, halves_,     floats_};
        if (tiles_)
            GR_LAUNCH_CHECK(takes_halves(matrix.type, activations_)
                                ? launch_expert_tiles_half(stream_, launch)
                                : launch_expert_tiles_float(stream_, launch));
        else
            GR_LAUNCH_CHECK(takes_integers(matrix.type, activations_)
                                ? launch_expert_rows_integer(stream_, launch)
                                : launch_expert_rows_float(stream_, launch));
    }

  private:
    std::int64_t n_calls() const { return n_tokens_ * layer_.top_k; }

    Stream& stream_;
    const ExpertLayer& layer_;
    const HitGroups& hits_;
    std::int64_t n_tokens_;
    Activations activations_;
    std::span<std::byte> scratch_;
    bool tiles_;
    ActivationRows integers_;
    HalfRows halves_;
    ConstMatrixView floats_;
};

__global__ void __launch_bounds__(kThreads)
    add_weighted_kernel(MatrixView out, ConstMatrixView results, const float* weights,
                        const std::int32_t* experts, const std::byte* const* slots, std::int64_t top_k) {
    const std::int64_t t = blockIdx.x;
    const std::int64_t column = std::int64_t{blockIdx.y} * kThreads + threadIdx.x;
    if (column >= out.n_cols) return;
    float sum = row_of(out, t)[column];
    for (std::int64_t call = t * top_k; call < (t + 1) * top_k; ++call)
        if (slots[experts[call]] != nullptr)
            sum += (weights == nullptr ? 1.0F : weights[call]) * row_of(results, call)[column];
    row_of(out, t)[column] = sum;
}

}  // namespace

std::int64_t expert_scratch_bytes(const ExpertLayer& layer, Activations activations,
                                  std::int64_t n_tokens) noexcept {
    std::int64_t most = 0;
    for (const bool tiles : {false, true}) {
        // Rows are taken up to as many tokens as there are below the number that takes tiles.
        const std::int64_t tokens =
            tiles ? n_tokens
                  : std::min(n_tokens, ceil_div<std::int64_t>(kTileCalls * layer.n_experts, layer.top_k));
        if (tiles && !takes_tiles(layer, n_tokens)) continue;
        for (const quant::Type type : {layer.gate.type, layer.up.type})
            most = std::max(most, vector_bytes(type, activations, tiles, tokens, layer.d_model));
        most = std::max(most,
                        vector_bytes(layer.down.type, activations, tiles, tokens * layer.top_k, layer.d_ff));
    }
    return most;
}

void run_experts(Stream& stream, MatrixView results, MatrixView hidden, ConstMatrixView x,
                 const ExpertLayer& layer, const HitGroups& hits, std::span<const float> input_factors,
                 Activations activations, std::span<std::byte> scratch) {
    const std::int64_t n_calls = x.n_rows * layer.top_k;
    GR_LAUNCH_CHECK(x.n_cols == layer.d_model);
    GR_LAUNCH_CHECK(hidden.n_rows == n_calls && hidden.n_cols == layer.d_ff);
    GR_LAUNCH_CHECK(results.n_rows == n_calls && results.n_cols == layer.d_model);
    GR_LAUNCH_CHECK(input_factors.empty() || static_cast<std::int64_t>(input_factors.size()) == n_calls);
    using Result = ExpertProduct::Result;
    Run run(stream, layer, hits, x.n_rows, activations, scratch);

    ExpertProduct product;
    product.glu = layer.glu;
    product.n_rows = layer.d_ff;
    product.n_values = layer.d_model;
    product.factors = input_factors.empty() ? nullptr : input_factors.data();
    product.calls_per_vector = layer.top_k;
    product.out = hidden;
    product.first_offset = layer.gate.offset;
    product.first_bias = layer.gate_bias;
    run.prepare(layer.gate.type, x, false);
    if (layer.gate.type == layer.up.type) {
        GR_LAUNCH_CHECK(layer.up.offset % matrix_alignment(layer.up.type) == 0);
        product.result = Result::joined;
        product.second_offset = layer.up.offset;
        product.second_bias = layer.up_bias;
        run.multiply(layer.gate, product);
    } else {
        run.multiply(layer.gate, product);
        product.result = Result::join_second;
        product.first_offset = layer.up.offset;
        product.first_bias = nullptr;
        product.second_bias = layer.up_bias;
        run.prepare(layer.up.type, x, false);
        run.multiply(layer.up, product);
    }

    ExpertProduct down;
    down.n_rows = layer.d_model;
    down.n_values = layer.d_ff;
    down.out = results;
    down.first_offset = layer.down.offset;
    down.first_bias = layer.down_bias;
    run.prepare(layer.down.type, hidden, true);
    run.multiply(layer.down, down);
}

void add_weighted(Stream& stream, MatrixView out, ConstMatrixView results, std::span<const float> weights,
                  std::span<const std::int32_t> experts, std::span<const std::byte* const> slots,
                  std::int64_t top_k) {
    GR_LAUNCH_CHECK(out.n_cols == results.n_cols && out.n_rows * top_k == results.n_rows);
    GR_LAUNCH_CHECK(static_cast<std::int64_t>(experts.size()) == results.n_rows);
    GR_LAUNCH_CHECK(weights.empty() || weights.size() == experts.size());
    launch("add_weighted", &add_weighted_kernel,
           grid_of(out.n_rows, ceil_div<std::int64_t>(out.n_cols, kThreads)), grid_of(kThreads), 0, stream,
           out, results, weights.empty() ? nullptr : weights.data(), experts.data(), slots.data(), top_k);
}

}  // namespace greenroom::gpu
