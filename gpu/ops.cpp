#include "gpu/ops.h"

#include "quant/base/error.h"

namespace greenroom::gpu {

Ops::Ops(DeviceBudget& budget, const OpsOptions& options)
    : budget_(budget),
      activations_(options.activations),
      step_(budget, sizeof(StepState), "the state of a step"),
      scratch_(budget, options.scratch_bytes, "scratch memory of the operations"),
      next_step_(1, "the state of a step"),
      read_back_(options.read_back_floats, "results for the host") {
    *next_step_.data() = {};
}

Ops::Buffer Ops::allocate(std::int64_t n_floats) {
    Buffer buffer(budget_, n_floats, "activations and KV cache");
    zero({buffer.data(), static_cast<std::size_t>(n_floats)});
    return buffer;
}

void Ops::begin_batch(std::int64_t first_position, std::int64_t /*n_tokens*/) {
    wait();
    StepState& state = *next_step_.data();
    state.first_position = static_cast<std::int32_t>(first_position);
    ++state.step;
    copy_to_device(stream_, step_.data(), &state, sizeof(StepState));
}

ConstMatrixView Ops::read_back(ConstMatrixView x) {
    const std::int64_t n = x.n_rows * x.n_cols;
    GR_CHECK((x.stride == x.n_cols || x.n_rows == 1) && n <= read_back_.size());
    copy_to_host(stream_, read_back_.data(), x.data, n * static_cast<std::int64_t>(sizeof(float)));
    wait();
    return {read_back_.data(), x.n_rows, x.n_cols, x.n_cols};
}

void Ops::mla_attention(MatrixView out, ConstMatrixView q, const KvRows& cache, std::int64_t first_position,
                        const MlaShape& shape, std::span<const std::int32_t> visible,
                        std::int64_t n_visible) {
    gpu::mla_attention(stream_, out, q, cache, step(), first_position + q.n_rows, shape, visible, n_visible,
                       scratch<float>());
}

void Ops::gqa_attention(MatrixView out, ConstMatrixView q, const KvRows& keys, const KvRows& values,
                        std::int64_t first_position, const GqaShape& shape, std::span<const float> sinks) {
    gpu::gqa_attention(stream_, out, q, keys, values, step(), first_position + q.n_rows, shape, sinks,
                       scratch<float>());
}

void Ops::index_positions(std::span<std::int32_t> visible, ConstMatrixView q, ConstMatrixView weights,
                          const KvRows& keys, std::int64_t first_position, std::int64_t top_k) {
    gpu::index_positions(stream_, visible, q, weights, keys, step(), first_position + q.n_rows, top_k,
                         scratch<float>());
}

}  // namespace greenroom::gpu
