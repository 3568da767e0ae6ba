// Speed of the kernels that go over rows of float32 between the products, one thread, rows in the first-level
// cache: items are values.
//
//   rms_norm/ISA, glu/ISA, quantize/ISA, encode/TYPE/ISA
//
// Build the target row_kernels_bench; --benchmark_filter=rms_norm narrows it.

#include "cpu/encode_row.h"
#include "cpu/kernels.h"
#include "cpu/quantize.h"
#include "tests/bench/run_benchmarks.h"
#include "tests/support/random_data.h"

#include <benchmark/benchmark.h>

#include <cstddef>
#include <string>
#include <vector>

namespace greenroom::cpu {
namespace {

constexpr std::int64_t kValues = 2048;

// Calls kernel() again and again.
template <class Kernel>
void measure(benchmark::State& state, Kernel&& kernel) {
    for (auto _ : state) {
        kernel();
        benchmark::ClobberMemory();
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * kValues);
}

void rms_norm(benchmark::State& state, Isa isa) {
    const auto x = test::random_floats(kValues, 1);
    const auto weight = test::random_floats(kValues, 2);
    std::vector<float> out(x.size());
    measure(state, [&] { kernels(isa).rms_norm(out.data(), x.data(), weight.data(), 1e-6F, kValues); });
}

void glu(benchmark::State& state, Isa isa) {
    const auto gate = test::random_floats(kValues, 1);
    const auto up = test::random_floats(kValues, 2);
    std::vector<float> out(gate.size());
    measure(state, [&] { kernels(isa).glu(Glu::silu, out.data(), gate.data(), up.data(), kValues); });
}

void quantize(benchmark::State& state, Isa isa) {
    const auto x = test::random_floats(kValues, 1);
    std::vector<ActivationBlock> blocks(static_cast<std::size_t>(activation_blocks(kValues)));
    measure(state, [&] { kernels(isa).quantize_row(blocks.data(), x.data(), kValues); });
}

void encode(benchmark::State& state, quant::Type type, Isa isa) {
    const auto x = test::random_floats(kValues, 1);
    std::vector<std::byte> row(static_cast<std::size_t>(quant::row_bytes(type, kValues)));
    const quant::EncodeFn encoder = find_row_encoder(type, isa);
    measure(state, [&] { encoder(x.data(), row.data(), kValues); });
}

void register_all() {
    for (const Isa isa : available_isas()) {
        const std::string of_isa = "/" + std::string(isa_name(isa));
        benchmark::RegisterBenchmark(("rms_norm" + of_isa).c_str(), rms_norm, isa);
        benchmark::RegisterBenchmark(("glu" + of_isa).c_str(), glu, isa);
        benchmark::RegisterBenchmark(("quantize" + of_isa).c_str(), quantize, isa);
        for (const quant::Type type :
             {quant::Type::F16, quant::Type::BF16, quant::Type::Q8_0, quant::Type::Q4_0})
            benchmark::RegisterBenchmark(("encode/" + std::string(quant::type_name(type)) + of_isa).c_str(),
                                         encode, type, isa);
    }
}

}  // namespace
}  // namespace greenroom::cpu

int main(int argc, char** argv) {
    return greenroom::bench::run_benchmarks(argc, argv, greenroom::cpu::register_all);
}
