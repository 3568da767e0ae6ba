#include "cpu/expert_ffn.h"

#include "cpu/row_run.h"

#include <algorithm>
#include <cassert>
#include <initializer_list>

namespace greenroom::cpu {
namespace {

std::int64_t most_calls(std::span<const ExpertTask> tasks) noexcept {
    std::size_t most = 0;
    for (const ExpertTask& task : tasks) most = std::max(most, task.calls.size());
    return static_cast<std::int64_t>(most);
}

// Whether one of these products is in integers.
bool any_in_integers(const ActivationBuffer& buffer, std::span<const ExpertTask> tasks,
                     std::initializer_list<TensorView ExpertTask::*> matrices) {
    const Kernels& k = kernels();
    return std::any_of(tasks.begin(), tasks.end(), [&](const ExpertTask& task) {
        return std::any_of(matrices.begin(), matrices.end(), [&](TensorView ExpertTask::*matrix) {
            return choose_quant_dot(k, (task.*matrix).type, buffer) != nullptr;
        });
    });
}

const float* offset(const float* bias, std::int64_t first) noexcept {
    return bias != nullptr ? bias + first : nullptr;
}

// out[i] = factor · x[i] + bias[i], with bias == nullptr for none.
void scale_and_add(float* out, const float* x, float factor, const float* bias, int n) noexcept {
    if (bias == nullptr)
        for (int i = 0; i < n; ++i) out[i] = factor * x[i];
    else
        for (int i = 0; i < n; ++i) out[i] = factor * x[i] + bias[i];
}

// The tasks' rows of x; the others may be another call's.
void quantize_calls(ThreadTeam& team, const ActivationRows& rows, ConstMatrixView x,
                    std::span<const ExpertTask> tasks) {
    const Kernels& k = kernels();
    team.parallel_for(static_cast<std::int64_t>(tasks.size()), 1,
                      [&](std::int64_t first, std::int64_t last, int) noexcept {
                          for (std::int64_t i = first; i < last; ++i)
                              for (const std::int32_t call : tasks[static_cast<std::size_t>(i)].calls)
                                  k.quantize_row(rows.row(call), x.row(call), x.n_cols);
                      });
}

}  // namespace

void run_experts(ThreadTeam& team, const Scratch& scratch, const ActivationBuffer& buffer, MatrixView results,
                 MatrixView hidden, ConstMatrixView x, int top_k, Glu glu,
                 std::span<const float> input_factors, std::span<const ExpertTask> tasks,
                 TokenRows token_rows) {
    assert(scratch.floats_per_thread() >= std::max(tile_floats(x.n_cols), tile_floats(hidden.n_cols)));
    const Kernels& k = kernels();
    RunVectors tokens{x, {}};
    if (any_in_integers(buffer, tasks, {&ExpertTask::gate, &ExpertTask::up})) {
        tokens.quantized = buffer.rows(x.n_rows, x.n_cols);
        if (token_rows == TokenRows::quantize) quantize_rows(team, tokens.quantized, x);
    }
    const auto n_tasks = static_cast<std::int64_t>(tasks.size());
    const std::int64_t n_vectors = most_calls(tasks);
    const auto gate_and_up = [&](std::int64_t i, std::int64_t first, std::int64_t last, int thread) noexcept {
        const ExpertTask& task = tasks[static_cast<std::size_t>(i)];
        const auto call = [&](std::int64_t j) { return task.calls[static_cast<std::size_t>(j)]; };
        const auto token = [&](std::int64_t j) { return call(j) / top_k; };
        // A product is linear, so the input's factor may as well multiply the result.
        const auto factor = [&](std::int64_t j) {
            return input_factors.empty() ? 1.0F : input_factors[static_cast<std::size_t>(call(j))];
        };
        PackedInScratch packed;
        const auto multiply = [&](const TensorView& w, auto&& store) {
            const RowRun run(k, choose_quant_dot(k, w.type, buffer), buffer.planes().experts, w, first, last,
                             scratch.of(thread));
            run.multiply(static_cast<std::int64_t>(task.calls.size()), tokens, token, store, packed);
        };
        // One matrix after the other: where parts of the two take turns, memory is waited for at each, which
        // costs 8 % with 50 KB and 25 % with 20 KB.
        multiply(task.gate, [&](std::int64_t j, std::int64_t row, const float* dots, int n) {
            scale_and_add(hidden.row(call(j)) + row, dots, factor(j), offset(task.gate_bias, row), n);
        });
        multiply(task.up, [&](std::int64_t j, std::int64_t row, const float* dots, int n) {
            float up_values[kRunRows];
            scale_and_add(up_values, dots, factor(j), offset(task.up_bias, row), n);
            float* target = hidden.row(call(j)) + row;
            k.glu(glu, target, target, up_values, n);
        });
    };
    for_each_run(team, n_tasks, hidden.n_cols, n_vectors, gate_and_up);

    RunVectors rows{hidden, {}};
    if (any_in_integers(buffer, tasks, {&ExpertTask::down})) {
        rows.quantized = buffer.rows(hidden.n_rows, hidden.n_cols, x.n_rows * activation_blocks(x.n_cols));
        quantize_calls(team, rows.quantized, hidden, tasks);
    }
    const auto down = [&](std::int64_t i, std::int64_t first, std::int64_t last, int thread) noexcept {
        const ExpertTask& task = tasks[static_cast<std::size_t>(i)];
        const auto call = [&](std::int64_t j) { return task.calls[static_cast<std::size_t>(j)]; };
        const RowRun run(k, choose_quant_dot(k, task.down.type, buffer), buffer.planes().experts, task.down,
                         first, last, scratch.of(thread));
        PackedInScratch packed;
        run.multiply(
            static_cast<std::int64_t>(task.calls.size()), rows, call,
            [&](std::int64_t j, std::int64_t row, const float* dots, int n) {
                scale_and_add(results.row(call(j)) + row, dots, 1.0F, offset(task.down_bias, row), n);
            },
            packed);
    };
    for_each_run(team, n_tasks, results.n_cols, n_vectors, down);
}

void add_weighted(ThreadTeam& team, MatrixView out, ConstMatrixView results, std::span<const float> weights,
                  int top_k) {
    const Kernels& kernel = kernels();
    constexpr std::int64_t kTokensPerTask = 4;
    team.parallel_for(out.n_rows, kTokensPerTask, [&](std::int64_t first, std::int64_t last, int) noexcept {
        for (std::int64_t t = first; t < last; ++t)
            for (int k = 0; k < top_k; ++k) {
                const std::int64_t call = t * top_k + k;
                const float weight = weights.empty() ? 1.0F : weights[static_cast<std::size_t>(call)];
                kernel.axpy_f32(out.row(t), weight, results.row(call), out.n_cols);
            }
    });
}

}  // namespace greenroom::cpu
