#include "gpu/kernels/expert_ffn.h"

#include "gpu/stream.h"
#include "quant/encode.h"
#include "tests/gpu/lane_orders.h"
#include "tests/gpu/weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <vector>

namespace greenroom::gpu {
namespace {

using quant::Type;
using test::DeviceArray;

// What a test asks for. Calls of experts without a slot are misses.
struct Case {
    Type gate = Type::Q8_0;
    Type up = Type::Q8_0;
    Type down = Type::Q8_0;
    std::int64_t d_model = 64;
    std::int64_t d_ff = 96;
    std::int64_t n_experts = 4;
    std::int64_t top_k = 2;
    std::vector<std::int32_t> calls;      // the expert of each
    std::set<std::int32_t> missing = {};  // experts without a slot
    Glu glu = Glu::silu;
    bool biases = false;
    bool input_factors = false;
    Activations activations = Activations::int16;

    std::int64_t n_calls() const { return static_cast<std::int64_t>(calls.size()); }
    std::int64_t n_tokens() const { return n_calls() / top_k; }
};

// A value in double, and how far a kernel's may be off.
struct Bounded {
    double value = 0;
    double error = 0;
};

// All experts' matrices: as values, and as slots on the device.
class Experts {
  public:
    Experts(Stream& stream, const Case& c) : case_(c) {
        std::vector<std::byte> bytes;
        add(bytes, layer.gate, c.gate, c.d_model, c.d_ff, gate, 1);
        add(bytes, layer.up, c.up, c.d_model, c.d_ff, up, 2);
        add(bytes, layer.down, c.down, c.d_ff, c.d_model, down, 3);
        slot_bytes_ = offset_;
        // Matrix by matrix so far; a slot has all three of an expert.
        std::vector<std::byte> slots(static_cast<std::size_t>(slot_bytes_ * c.n_experts));
        std::int64_t from = 0;
        for (const ExpertMatrix* matrix : {&layer.gate, &layer.up, &layer.down}) {
            const std::int64_t n = matrix_bytes(*matrix);
            for (std::int64_t e = 0; e < c.n_experts; ++e, from += n)
                std::copy_n(bytes.begin() + from, n, slots.begin() + e * slot_bytes_ + matrix->offset);
        }
        slots_.emplace(stream, slots);
        std::vector<const std::byte*> slot_of;
        for (std::int32_t e = 0; e < c.n_experts; ++e)
            slot_of.push_back(c.missing.contains(e) ? nullptr : slots_->data() + e * slot_bytes_);
        table.emplace(stream, slot_of);
        layer.n_experts = c.n_experts;
        layer.top_k = c.top_k;
        layer.d_model = c.d_model;
        layer.d_ff = c.d_ff;
        layer.glu = c.glu;
        if (c.biases) {
            gate_bias = test::random_floats(c.n_experts * c.d_ff, 4);
            up_bias = test::random_floats(c.n_experts * c.d_ff, 5);
            down_bias = test::random_floats(c.n_experts * c.d_model, 6);
            biases_.emplace_back(stream, gate_bias);
            biases_.emplace_back(stream, up_bias);
            biases_.emplace_back(stream, down_bias);
            layer.gate_bias = biases_[0].data();
            layer.up_bias = biases_[1].data();
            layer.down_bias = biases_[2].data();
        }
    }

    std::int64_t matrix_bytes(const ExpertMatrix& matrix) const {
        const bool is_down = &matrix == &layer.down;
        return quant::row_bytes(matrix.type, is_down ? case_.d_ff : case_.d_model) *
               (is_down ? case_.d_model : case_.d_ff);
    }

    ExpertLayer layer;
    std::vector<double> gate, up, down;  // values, expert after expert
    std::vector<float> gate_bias, up_bias, down_bias;
    std::optional<DeviceArray<const std::byte*>> table;

  private:
    // Weights of a size that keeps results near one where the type can be encoded; else random blocks.
    void add(std::vector<std::byte>& bytes, ExpertMatrix& matrix, Type type, std::int64_t n_in,
             std::int64_t n_out, std::vector<double>& values, unsigned seed) {
        matrix.type = type;
        matrix.offset = offset_;
        test::RandomTensor tensor(type, n_in, n_out, case_.n_experts, seed);
        if (quant::encodable(type) && type != Type::Q4_K) {
            const std::vector<float> plain =
                test::random_floats(tensor.view.n_values(), seed, 1.0F / std::sqrt(static_cast<float>(n_in)));
            for (std::int64_t r = 0; r < tensor.view.n_rows(); ++r)
                quant::encode_row(type, plain.data() + r * n_in,
                                  tensor.bytes.data() + r * tensor.view.row_bytes(), n_in);
        }
        values = tensor.decoded();
        bytes.insert(bytes.end(), tensor.bytes.begin(), tensor.bytes.end());
        offset_ += (tensor.view.bytes() / case_.n_experts + 15) / 16 * 16;
    }

    const Case case_;
    std::int64_t offset_ = 0;
    std::int64_t slot_bytes_ = 0;
    std::optional<DeviceArray<std::byte>> slots_;
    std::vector<DeviceArray<float>> biases_;
};

// The hits, as split_calls() groups them.
struct DeviceHits {
    DeviceHits(Stream& stream, const Case& c, const Experts& experts) : table(experts.table->download()) {
        std::vector<std::int32_t> groups, first = {0}, calls;
        std::vector<const std::byte*> slots;
        for (std::int32_t e = 0; e < c.n_experts; ++e) {
            if (table[static_cast<std::size_t>(e)] == nullptr) continue;
            for (std::int32_t call = 0; call < c.n_calls(); ++call)
                if (c.calls[static_cast<std::size_t>(call)] == e) calls.push_back(call);
            if (static_cast<std::int32_t>(calls.size()) == first.back()) continue;
            groups.push_back(e);
            slots.push_back(table[static_cast<std::size_t>(e)]);
            first.push_back(static_cast<std::int32_t>(calls.size()));
        }
        const auto n_groups = static_cast<std::int32_t>(groups.size());
        // As large as they have to be for any choice; what is not used is -1.
        const auto most = static_cast<std::size_t>(std::min(c.n_experts, c.n_calls()));
        groups.resize(most, -1);
        slots.resize(most, nullptr);
        first.resize(most + 1, -1);
        calls.resize(c.calls.size(), -1);
        arrays.emplace_back(stream, std::vector<std::int32_t>{n_groups});
        arrays.emplace_back(stream, groups);
        arrays.emplace_back(stream, first);
        arrays.emplace_back(stream, calls);
        device_slots.emplace(stream, slots);
        view.n_groups = arrays[0].data();
        view.experts = arrays[1].data();
        view.first = arrays[2].data();
        view.calls = arrays[3].data();
        view.slots = device_slots->data();
    }

    std::vector<const std::byte*> table;
    std::vector<DeviceArray<std::int32_t>> arrays;
    std::optional<DeviceArray<const std::byte*>> device_slots;
    HitGroups view;
};

class ExpertFfn : public test::GpuTest {
  protected:
    // What is multiplied by the rows of a matrix.
    struct Vector {
        std::vector<float> values;
        std::vector<double> errors;

        void add(const Bounded& x) {
            values.push_back(static_cast<float>(x.value));
            errors.push_back(x.error + std::fabs(x.value) * 0x1p-24);
        }
    };

    // A dot product with what the way of multiplying costs, and with what the vector is off by already.
    static Bounded dot(const double* w, const Vector& x, double factor, double bias, bool halves,
                       bool integers) {
        double inherited = 0;
        for (std::size_t i = 0; i < x.errors.size(); ++i) inherited += std::fabs(w[i]) * x.errors[i];
        const auto n = static_cast<std::int64_t>(x.values.size());
        const test::ExpectedDot expected =
            test::expected_dot(w, x.values.data(), n, integers ? test::kIntegerError : 0);
        const double error =
            expected.tolerance + inherited + (halves ? test::half_tolerance(w, x.values.data(), n) : 0);
        const double value = factor * expected.value + bias;
        return {value, std::fabs(factor) * error + std::fabs(value) * 0x1p-22 + std::fabs(bias) * 0x1p-22};
    }

    // Neither sigmoid(x) · x nor sigmoid(1.702 x) · x is steeper than 1.13 anywhere.
    static Bounded join(Glu glu, Bounded gate, Bounded up) {
        double slope = 1;
        double shift = 0;
        if (glu == Glu::clamped_swiglu) {
            gate.value = std::min(gate.value, 7.0);
            up.value = std::clamp(up.value, -7.0, 7.0);
            slope = 1.702;
            shift = 1;
        }
        const double gated = gate.value / (1 + std::exp(-slope * gate.value));
        const double value = gated * (up.value + shift);
        return {value, 1.13 * gate.error * (std::fabs(up.value) + shift + up.error) +
                           (std::fabs(gated) + 1e-6) * up.error + std::fabs(value) * 1e-6 + 1e-30};
    }

    void check(const Case& c, bool tiles = false) {
        SCOPED_TRACE(testing::Message()
                     << quant::type_name(c.gate) << " " << quant::type_name(c.up) << " "
                     << quant::type_name(c.down) << (c.activations == Activations::f32 ? " f32" : "")
                     << (tiles ? " tiles" : " rows"));
        const Experts experts(stream_, c);
        const DeviceHits hits(stream_, c, experts);
        const std::vector<float> x = test::random_floats(c.n_tokens() * c.d_model, 7);
        const std::vector<float> factors = test::random_floats(c.n_calls(), 8);
        const DeviceArray<float> device_x(stream_, x);
        const DeviceArray<float> device_factors(stream_, factors);
        const DeviceArray<float> hidden(stream_, static_cast<std::size_t>(c.n_calls() * c.d_ff));
        const DeviceArray<float> results(stream_, static_cast<std::size_t>(c.n_calls() * c.d_model));
        const DeviceArray<std::byte> scratch(
            stream_,
            static_cast<std::size_t>(expert_scratch_bytes(experts.layer, c.activations, c.n_tokens()) + 16));
        run_experts(stream_, results.matrix(c.n_calls(), c.d_model), hidden.matrix(c.n_calls(), c.d_ff),
                    device_x.matrix(c.n_tokens(), c.d_model), experts.layer, hits.view,
                    c.input_factors ? std::span<const float>(device_factors.data(), device_factors.size())
                                    : std::span<const float>(),
                    c.activations, {scratch.data(), scratch.size()});
        const std::vector<float> y = results.download();

        const auto is_half = [&](Type t) {
            return tiles && c.activations == Activations::int16 && t != Type::F32;
        };
        const auto is_integer = [&](Type t) {
            return !tiles && c.activations == Activations::int16 && !test::is_float(t);
        };
        for (std::int64_t call = 0; call < c.n_calls(); ++call) {
            const std::int32_t e = c.calls[static_cast<std::size_t>(call)];
            Vector token;
            for (std::int64_t i = 0; i < c.d_model; ++i)
                token.add({x[static_cast<std::size_t>(call / c.top_k * c.d_model + i)], 0});
            const double factor = c.input_factors ? factors[static_cast<std::size_t>(call)] : 1.0;
            Vector joined;
            for (std::int64_t r = 0; r < c.d_ff; ++r) {
                const auto row = static_cast<std::size_t>(e * c.d_ff + r);
                const auto n = static_cast<std::size_t>(c.d_model);
                const Bounded g =
                    dot(&experts.gate[row * n], token, factor, c.biases ? experts.gate_bias[row] : 0,
                        is_half(c.gate), is_integer(c.gate));
                const Bounded u = dot(&experts.up[row * n], token, factor,
                                      c.biases ? experts.up_bias[row] : 0, is_half(c.up), is_integer(c.up));
                joined.add(join(c.glu, g, u));
            }
            for (std::int64_t r = 0; r < c.d_model; ++r) {
                const auto row = static_cast<std::size_t>(e * c.d_model + r);
                const float value = y[static_cast<std::size_t>(call * c.d_model + r)];
                if (c.missing.contains(e)) {
                    ASSERT_TRUE(std::isnan(value)) << "the row of a miss was written";
                    continue;
                }
                const Bounded expected =
                    dot(&experts.down[row * static_cast<std::size_t>(c.d_ff)], joined, 1,
                        c.biases ? experts.down_bias[row] : 0, is_half(c.down), is_integer(c.down));
                ASSERT_NEAR(value, expected.value, expected.error) << "call " << call << ", row " << r;
            }
        }
    }

    // Of each token the experts i, i + 1, … for some i.
    static std::vector<std::int32_t> spread_calls(std::int64_t n_tokens, std::int64_t top_k,
                                                  std::int64_t n_experts) {
        std::vector<std::int32_t> calls;
        for (std::int64_t t = 0; t < n_tokens; ++t)
            for (std::int64_t k = 0; k < top_k; ++k)
                calls.push_back(static_cast<std::int32_t>((3 * t + k) % n_experts));
        return calls;
    }

    Stream stream_;
};

TEST_P(ExpertFfn, OneToken) {
    for (const Activations activations : {Activations::int16, Activations::f32}) {
        check({.calls = {2, 0}, .activations = activations});
        check({.calls = {3, 1}, .missing = {3}, .activations = activations});
    }
}

TEST_P(ExpertFfn, NoHitsAtAll) { check({.calls = {3, 1, 1, 3}, .missing = {1, 3}}); }

// Each type first for gate and up, then for down.
TEST_P(ExpertFfn, EveryTypeOfWeights) {
    for (const Type type : test::weight_types())
        for (const Activations activations : {Activations::int16, Activations::f32}) {
            const std::int64_t n = std::max(32, quant::type_info(type).block_values);
            Case c{.d_model = n, .d_ff = 32, .n_experts = 2, .top_k = 1, .calls = {1}};
            c.activations = activations;
            c.gate = c.up = type;
            check(c);
            std::swap(c.d_model, c.d_ff);
            std::swap(c.gate, c.down);
            c.up = c.gate;
            check(c);
        }
}

TEST_P(ExpertFfn, TypesThatDiffer) {
    for (const Activations activations : {Activations::int16, Activations::f32})
        for (const std::int64_t n_tokens : {1, 20})
            check({.gate = Type::Q4_0,
                   .up = Type::F32,
                   .down = Type::BF16,
                   .calls = spread_calls(n_tokens, 2, 4),
                   .missing = {1},
                   .activations = activations},
                  n_tokens == 20);
}

TEST_P(ExpertFfn, AsManyCallsAsWidthsOfTheKernel) {
    for (const std::int64_t n_tokens : {2, 3, 5, 9, 11})
        check({.n_experts = 8, .top_k = 3, .calls = spread_calls(n_tokens, 3, 8), .missing = {2, 5}});
}

// More than a kernel takes at a time, and none for the others.
TEST_P(ExpertFfn, AllTokensOnOneExpert) {
    for (const Activations activations : {Activations::int16, Activations::f32}) {
        check({.n_experts = 16,
               .top_k = 1,
               .calls = std::vector<std::int32_t>(19, 7),
               .activations = activations});
        check({.d_model = 32,
               .d_ff = 32,
               .n_experts = 2,
               .top_k = 1,
               .calls = std::vector<std::int32_t>(70, 1),
               .activations = activations},
              true);
    }
}

// gpt-oss: biases and its own way of joining; sizes that are no multiples of anything but a block.
TEST_P(ExpertFfn, BiasesAndClampedSwiglu) {
    for (const std::int64_t n_tokens : {1, 3, 16})
        check({.gate = Type::MXFP4,
               .up = Type::MXFP4,
               .down = Type::MXFP4,
               .d_model = 96,
               .d_ff = 32,
               .calls = spread_calls(n_tokens, 2, 4),
               .missing = {0},
               .glu = Glu::clamped_swiglu,
               .biases = true},
              n_tokens == 16);
    check({.calls = {1, 2}, .glu = Glu::clamped_swiglu, .biases = true});
}

TEST_P(ExpertFfn, FactorsOfTheInput) {
    for (const std::int64_t n_tokens : {1, 16})
        check({.calls = spread_calls(n_tokens, 2, 4), .input_factors = true}, n_tokens == 16);
}

// Rows that do not fill a team, a block or a tile.
TEST_P(ExpertFfn, AwkwardShapes) {
    for (const std::int64_t n_tokens : {1, 16})
        for (const Activations activations : {Activations::int16, Activations::f32})
            check({.gate = Type::F16,
                   .up = Type::F16,
                   .down = Type::F32,
                   .d_model = 37,
                   .d_ff = 5,
                   .calls = spread_calls(n_tokens, 2, 4),
                   .activations = activations},
                  n_tokens == 16);
}

TEST_P(ExpertFfn, SumsAreThoseOfTheHitsInTheOrderOfRanks) {
    constexpr std::int64_t kTokens = 3;
    constexpr std::int64_t kTopK = 4;
    constexpr std::int64_t kCols = 300;
    const std::vector<std::int32_t> experts = {0, 1, 2, 3, 3, 2, 1, 0, 1, 3, 1, 3};
    const std::vector<std::byte> slot(1);
    const std::vector<const std::byte*> table = {slot.data(), nullptr, slot.data(), nullptr};
    std::vector<float> results = test::random_floats(kTokens * kTopK * kCols, 1);
    for (std::size_t call = 0; call < experts.size(); ++call)  // a miss's row may hold anything
        if (table[static_cast<std::size_t>(experts[call])] == nullptr)
            std::fill_n(results.begin() + static_cast<std::ptrdiff_t>(call * kCols), kCols, NAN);
    const std::vector<float> weights = test::random_floats(kTokens * kTopK, 2);
    const std::vector<float> before = test::random_floats(kTokens * kCols, 3);
    const DeviceArray<std::int32_t> device_experts(stream_, experts);
    const DeviceArray<const std::byte*> device_table(stream_, table);
    const DeviceArray<float> device_results(stream_, results);
    const DeviceArray<float> device_weights(stream_, weights);
    for (const bool weighted : {true, false}) {
        const DeviceArray<float> out(stream_, before);
        add_weighted(stream_, out.matrix(kTokens, kCols), device_results.matrix(kTokens * kTopK, kCols),
                     weighted ? std::span<const float>(device_weights.data(), weights.size())
                              : std::span<const float>(),
                     {device_experts.data(), experts.size()}, {device_table.data(), table.size()}, kTopK);
        const std::vector<float> sums = out.download();
        for (std::int64_t t = 0; t < kTokens; ++t)
            for (std::int64_t i = 0; i < kCols; ++i) {
                double sum = before[static_cast<std::size_t>(t * kCols + i)];
                double magnitudes = std::fabs(sum);
                for (std::int64_t k = 0; k < kTopK; ++k) {
                    const auto call = static_cast<std::size_t>(t * kTopK + k);
                    if (table[static_cast<std::size_t>(experts[call])] == nullptr) continue;
                    const double term = (weighted ? double{weights[call]} : 1.0) *
                                        double{results[call * kCols + static_cast<std::size_t>(i)]};
                    sum += term;
                    magnitudes += std::fabs(term);
                }
                ASSERT_NEAR(sums[static_cast<std::size_t>(t * kCols + i)], sum, magnitudes * 0x1p-21);
            }
    }
}

GR_RUN_IN_LANE_ORDERS(ExpertFfn);

}  // namespace
}  // namespace greenroom::gpu
