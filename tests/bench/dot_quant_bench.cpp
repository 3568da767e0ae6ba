// Speed of the kernels of quantized weights, one thread.
//
//   decode/TYPE/ISA/KIND    one vector against rows that come from memory (more of them than the caches
//   hold):
//                      bytes_per_second, and of_read as a fraction of what reading alone reaches in this run
//   prefill/TYPE/ISA/KIND/N   N vectors against the rows of a matrix that the second-level cache holds:
//                      items are multiplications. KIND int8, int16: the kernels, with activations of 8 and of
//                      15 bits; f32: decoding and float32 products
//
// Build the target dot_quant_bench; --benchmark_filter=decode/Q4_K narrows it.

#include "cpu/buffer.h"
#include "cpu/dot_quant.h"
#include "cpu/kernels.h"
#include "cpu/row_tile.h"
#include "quant/base/tensor_view.h"
#include "tests/bench/read_bandwidth.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace greenroom::cpu {
namespace {

using bench::many_bytes;
using bench::read_bandwidth;
using quant::Type;

constexpr std::int64_t kRowValues = 4096;

std::vector<float> random_row(unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> row(static_cast<std::size_t>(kRowValues));
    for (float& v : row) v = normal(random);
    return row;
}

enum class Kind { int8, int16, f32 };

Planes planes_of(Kind kind) { return kind == Kind::int8 ? Planes::high : Planes::both; }

void decode(benchmark::State& state, Type type, Isa isa, Kind kind) {
    const QuantDot& kernel = *find_quant_dot(type, isa);
    const auto row_bytes = static_cast<std::size_t>(quant::row_bytes(type, kRowValues));
    const auto x = random_row(2);
    std::vector<ActivationBlock> blocks(static_cast<std::size_t>(activation_blocks(kRowValues)));
    quantize_row_scalar(blocks.data(), x.data(), kRowValues);
    const auto bytes = many_bytes();
    const double read = read_bandwidth();
    const std::size_t tile_bytes = kTileRows * row_bytes;
    std::size_t at = 0;
    float out[kTileRows];
    for (auto _ : state) {
        kernel.dot_rows(bytes.data() + at, static_cast<std::int64_t>(row_bytes), kTileRows, blocks.data(),
                        planes_of(kind), kRowValues, out);
        benchmark::DoNotOptimize(out);
        at += tile_bytes;
        if (at + tile_bytes > bytes.size()) at = 0;
    }
    const auto n_bytes = static_cast<double>(state.iterations()) * static_cast<double>(tile_bytes);
    state.SetBytesProcessed(static_cast<std::int64_t>(n_bytes));
    state.counters["of_read"] = benchmark::Counter(n_bytes / read, benchmark::Counter::kIsRate);
}

void prefill(benchmark::State& state, Type type, Isa isa, Kind kind) {
    constexpr std::int64_t kRows = 64;
    const auto n_vectors = state.range(0);
    const TensorView w{type, 2, {kRowValues, kRows, 1, 1}, many_bytes().data()};
    const Kernels& k = kernels(isa);
    const QuantDot* quant_dot = kind == Kind::f32 ? nullptr : find_quant_dot(type, isa);
    const std::int64_t n_blocks = activation_blocks(kRowValues);
    std::vector<float> x;
    std::vector<ActivationBlock> blocks(static_cast<std::size_t>(n_vectors * n_blocks));
    for (std::int64_t j = 0; j < n_vectors; ++j) {
        const auto row = random_row(static_cast<unsigned>(j));
        k.quantize_row(blocks.data() + j * n_blocks, row.data(), kRowValues);
        x.insert(x.end(), row.begin(), row.end());
    }
    const Buffer scratch(tile_floats(kRowValues));
    std::vector<float> out(static_cast<std::size_t>(n_vectors * kRows));
    const TileVectors vectors{{x.data(), n_vectors, kRowValues, kRowValues}, {blocks.data(), n_blocks}};
    for (auto _ : state) {
        for (std::int64_t first = 0; first < kRows; first += kTileRows) {
            const RowTile tile(k, quant_dot, planes_of(kind), w, first, first + kTileRows, scratch.data());
            tile.multiply(
                n_vectors, vectors, [](std::int64_t j) { return j; },
                [&](std::int64_t j, const float* dots) {
                    std::copy_n(dots, kTileRows, &out[static_cast<std::size_t>(j * kRows + first)]);
                });
        }
        benchmark::DoNotOptimize(out.data());
        benchmark::ClobberMemory();
    }
    state.SetItemsProcessed(state.iterations() * n_vectors * kRows * kRowValues);
}

void register_all() {
    for (std::uint32_t id = 0; id < 64; ++id) {
        const auto* info = quant::find_type(id);
        if (info == nullptr || find_quant_dot(info->type, Isa::scalar) == nullptr) continue;
        for (const Isa isa : available_isas()) {
            if (isa == Isa::scalar) continue;
            const std::string of = "/" + std::string(info->name) + "/" + std::string(isa_name(isa));
            constexpr std::pair<Kind, const char*> kKinds[] = {
                {Kind::int8, "/int8"}, {Kind::int16, "/int16"}, {Kind::f32, "/f32"}};
            for (const auto& [kind, name] : kKinds) {
                if (kind != Kind::f32)
                    benchmark::RegisterBenchmark(("decode" + of + name).c_str(), decode, info->type, isa,
                                                 kind);
                benchmark::RegisterBenchmark(("prefill" + of + name).c_str(), prefill, info->type, isa, kind)
                    ->Arg(1)
                    ->Arg(4)
                    ->Arg(16)
                    ->Arg(64)
                    ->Arg(512);
            }
        }
    }
}

}  // namespace
}  // namespace greenroom::cpu

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    greenroom::cpu::register_all();
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
