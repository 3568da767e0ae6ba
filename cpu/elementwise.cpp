#include "cpu/elementwise.h"

#include "cpu/activation.h"
#include "cpu/kernels.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace greenroom::cpu {
namespace {

// Rows that are worth waking a thread for.
std::int64_t row_grain(std::int64_t n_cols) noexcept {
    constexpr std::int64_t kValuesPerTask = 16384;
    return std::max<std::int64_t>(1, kValuesPerTask / std::max<std::int64_t>(1, n_cols));
}

}  // namespace

void rms_norm(ThreadTeam& team, MatrixView out, ConstMatrixView x, const float* weight, float eps) {
    assert(out.n_rows == x.n_rows && out.n_cols == x.n_cols);
    const Kernels& k = kernels();
    team.parallel_for(x.n_rows, row_grain(x.n_cols),
                      [&](std::int64_t first, std::int64_t last, int) noexcept {
                          for (std::int64_t t = first; t < last; ++t)
                              k.rms_norm(out.row(t), x.row(t), weight, eps, x.n_cols);
                      });
}

void layer_norm(ThreadTeam& team, MatrixView out, ConstMatrixView x, const float* weight, const float* bias,
                float eps) {
    assert(out.n_rows == x.n_rows && out.n_cols == x.n_cols);
    const auto n = static_cast<double>(x.n_cols);
    team.parallel_for(
        x.n_rows, row_grain(x.n_cols), [&](std::int64_t first, std::int64_t last, int) noexcept {
            for (std::int64_t t = first; t < last; ++t) {
                const std::span<const float> in = x.row_span(t);
                double sum = 0;
                for (const float v : in) sum += static_cast<double>(v);
                const double mean = sum / n;
                double squares = 0;
                for (const float v : in)
                    squares += (static_cast<double>(v) - mean) * (static_cast<double>(v) - mean);
                const double factor = 1.0 / std::sqrt(squares / n + static_cast<double>(eps));
                float* to = out.row(t);
                for (std::size_t i = 0; i < in.size(); ++i) {
                    const double v = (static_cast<double>(in[i]) - mean) * factor;
                    to[i] = static_cast<float>(v) * weight[i] + bias[i];
                }
            }
        });
}

void rope_angles(ThreadTeam& team, MatrixView out, std::span<const std::int32_t> positions,
                 std::span<const float> frequencies, float magnitude) {
    assert(out.n_cols == 2 * static_cast<std::int64_t>(frequencies.size()));
    constexpr std::int64_t kCostOfAngle = 16;  // of other operations
    team.parallel_for(static_cast<std::int64_t>(positions.size()), row_grain(kCostOfAngle * out.n_cols),
                      [&](std::int64_t first, std::int64_t last, int) noexcept {
                          for (std::int64_t t = first; t < last; ++t) {
                              const auto position =
                                  static_cast<float>(positions[static_cast<std::size_t>(t)]);
                              float* row = out.row(t);
                              for (std::size_t i = 0; i < frequencies.size(); ++i) {
                                  const float theta = position * frequencies[i];
                                  row[2 * i] = std::cos(theta) * magnitude;
                                  row[2 * i + 1] = std::sin(theta) * magnitude;
                              }
                          }
                      });
}

void rope(ThreadTeam& team, MatrixView out, std::int64_t out_stride, ConstMatrixView x, std::int64_t x_stride,
          int n_heads, ConstMatrixView angles, RopePairing pairing) {
    const std::int64_t n_pairs = angles.n_cols / 2;
    assert(x.n_rows == angles.n_rows && (n_heads - 1) * x_stride + angles.n_cols <= x.n_cols);
    assert(out.n_rows == x.n_rows && (n_heads - 1) * out_stride + angles.n_cols <= out.n_cols);
    // Where the two values of pair i lie.
    const std::int64_t step = pairing == RopePairing::neighbours ? 2 : 1;
    const std::int64_t distance = pairing == RopePairing::neighbours ? 1 : n_pairs;
    const auto rotate_rows = [&](std::int64_t first, std::int64_t last, int) noexcept {
        for (std::int64_t t = first; t < last; ++t) {
            const float* angle = angles.row(t);
            for (int h = 0; h < n_heads; ++h) {
                const float* from = x.row(t) + h * x_stride;
                float* to = out.row(t) + h * out_stride;
                for (std::int64_t i = 0; i < n_pairs; ++i) {
                    const float a = from[i * step];
                    const float b = from[i * step + distance];
                    const float cosine = angle[2 * i];
                    const float sine = angle[2 * i + 1];
                    to[i * step] = a * cosine - b * sine;
                    to[i * step + distance] = a * sine + b * cosine;
                }
            }
        }
    };
    team.parallel_for(x.n_rows, row_grain(4 * n_heads * angles.n_cols), rotate_rows);
}

void glu(ThreadTeam& team, MatrixView gate, ConstMatrixView up, Glu kind) {
    assert(gate.n_rows == up.n_rows && gate.n_cols == up.n_cols);
    const Kernels& k = kernels();
    const auto join_rows = [&](std::int64_t first, std::int64_t last, int) noexcept {
        for (std::int64_t t = first; t < last; ++t)
            k.glu(kind, gate.row(t), gate.row(t), up.row(t), gate.n_cols);
    };
    team.parallel_for(gate.n_rows, row_grain(4 * gate.n_cols), join_rows);
}

void add_bias(ThreadTeam& team, MatrixView x, const float* bias) {
    team.parallel_for(x.n_rows, row_grain(x.n_cols),
                      [&](std::int64_t first, std::int64_t last, int) noexcept {
                          for (std::int64_t t = first; t < last; ++t)
                              for (std::int64_t i = 0; i < x.n_cols; ++i) x.row(t)[i] += bias[i];
                      });
}

void scale(ThreadTeam& team, MatrixView x, float factor) {
    team.parallel_for(x.n_rows, row_grain(x.n_cols),
                      [&](std::int64_t first, std::int64_t last, int) noexcept {
                          for (std::int64_t t = first; t < last; ++t)
                              for (std::int64_t i = 0; i < x.n_cols; ++i) x.row(t)[i] *= factor;
                      });
}

void scale_rows(ThreadTeam& team, MatrixView x, std::span<const float> factors) {
    assert(static_cast<std::int64_t>(factors.size()) == x.n_rows);
    team.parallel_for(x.n_rows, row_grain(x.n_cols),
                      [&](std::int64_t first, std::int64_t last, int) noexcept {
                          for (std::int64_t t = first; t < last; ++t)
                              for (std::int64_t i = 0; i < x.n_cols; ++i)
                                  x.row(t)[i] *= factors[static_cast<std::size_t>(t)];
                      });
}

void gate_rows(ThreadTeam& team, MatrixView x, ConstMatrixView gate) {
    assert(gate.n_rows == x.n_rows && gate.n_cols == 1);
    team.parallel_for(x.n_rows, row_grain(x.n_cols),
                      [&](std::int64_t first, std::int64_t last, int) noexcept {
                          for (std::int64_t t = first; t < last; ++t) {
                              const float factor = sigmoid(*gate.row(t));
                              for (std::int64_t i = 0; i < x.n_cols; ++i) x.row(t)[i] *= factor;
                          }
                      });
}

void gate(ThreadTeam& team, MatrixView x, ConstMatrixView logits) {
    assert(x.n_rows == logits.n_rows && x.n_cols == logits.n_cols);
    team.parallel_for(x.n_rows, row_grain(4 * x.n_cols),
                      [&](std::int64_t first, std::int64_t last, int) noexcept {
                          for (std::int64_t t = first; t < last; ++t)
                              for (std::int64_t i = 0; i < x.n_cols; ++i)
                                  x.row(t)[i] *= sigmoid(logits.row(t)[i]);
                      });
}

void add(ThreadTeam& team, MatrixView x, ConstMatrixView y) {
    assert(x.n_rows == y.n_rows && x.n_cols == y.n_cols);
    team.parallel_for(x.n_rows, row_grain(x.n_cols),
                      [&](std::int64_t first, std::int64_t last, int) noexcept {
                          for (std::int64_t t = first; t < last; ++t)
                              for (std::int64_t i = 0; i < x.n_cols; ++i) x.row(t)[i] += y.row(t)[i];
                      });
}

void copy(MatrixView to, ConstMatrixView from) noexcept {
    assert(to.n_rows == from.n_rows && to.n_cols == from.n_cols);
    for (std::int64_t t = 0; t < from.n_rows; ++t) std::copy_n(from.row(t), from.n_cols, to.row(t));
}

}  // namespace greenroom::cpu
