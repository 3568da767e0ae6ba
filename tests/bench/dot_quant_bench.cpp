// Speed of the kernels of quantized weights, one thread.
//
//   decode/TYPE/ISA/KIND    one vector against rows that come from memory (more of them than the caches
//   hold):
//                      bytes_per_second, and of_read as a fraction of what reading alone reaches in this run
//   experts/TYPE/ISA/KIND/VALUESxROWS   the same of whole matrices, in the shapes of models, at random places
//                      of 4 GiB, as experts are read
//   prefill/TYPE/ISA/KIND/N   N vectors against the rows of a matrix that the second-level cache holds:
//                      items are multiplications. KIND int8, int16: the kernels, with activations of 8 and of
//                      15 bits; f32: decoding and float32 products
//
// Build the target dot_quant_bench; --benchmark_filter=decode/Q4_K narrows it.

#include "cpu/buffer.h"
#include "cpu/dot_quant.h"
#include "cpu/kernels.h"
#include "cpu/row_run.h"
#include "quant/base/tensor_view.h"
#include "tests/bench/read_bandwidth.h"
#include "tests/bench/run_benchmarks.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>
#include <span>
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

std::vector<ActivationBlock> random_blocks(std::int64_t n_values) {
    const auto x = random_row(2);
    std::vector<ActivationBlock> blocks(static_cast<std::size_t>(activation_blocks(n_values)));
    quantize_row_scalar(blocks.data(), x.data(), n_values);
    return blocks;
}

void count_bytes(benchmark::State& state, std::size_t per_iteration, double read) {
    const auto n_bytes = static_cast<double>(state.iterations()) * static_cast<double>(per_iteration);
    state.SetBytesProcessed(static_cast<std::int64_t>(n_bytes));
    state.counters["of_read"] = benchmark::Counter(n_bytes / read, benchmark::Counter::kIsRate);
}

void decode(benchmark::State& state, Type type, Isa isa, Kind kind) {
    const QuantDot& kernel = *find_quant_dot(type, isa);
    const auto row_bytes = static_cast<std::size_t>(quant::row_bytes(type, kRowValues));
    const auto blocks = random_blocks(kRowValues);
    const auto bytes = many_bytes();
    const double read = read_bandwidth();
    const std::size_t run_bytes = kRunRows * row_bytes;
    std::size_t at = 0;
    float out[kRunRows];
    for (auto _ : state) {
        kernel.dot_rows(bytes.data() + at, static_cast<std::int64_t>(row_bytes), kRunRows, blocks.data(),
                        planes_of(kind), kRowValues, out);
        benchmark::DoNotOptimize(out);
        at += run_bytes;
        if (at + run_bytes > bytes.size()) at = 0;
    }
    count_bytes(state, run_bytes, read);
}

// Values of a row, and rows: gate, up and down of Qwen3-30B-A3B, of OLMoE and of gpt-oss.
struct Shape {
    std::int64_t n_values;
    std::int64_t n_rows;
};
constexpr Shape kExpertShapes[] = {{2048, 768}, {768, 2048}, {2048, 1024}, {1024, 2048}, {2880, 2880}};

// many_bytes() again and again, as many as the experts of a model.
std::span<const std::byte> experts_bytes() {
    constexpr std::size_t kBytes = std::size_t{4} << 30;
    static const Buffer buffer = [] {
        Buffer all(kBytes / sizeof(float));
        const auto bytes = std::as_writable_bytes(std::span(all.data(), kBytes / sizeof(float)));
        for (std::size_t at = 0; at < kBytes; at += many_bytes().size())
            std::copy_n(many_bytes().begin(), std::min(many_bytes().size(), kBytes - at), bytes.begin() + at);
        return all;
    }();
    return {reinterpret_cast<const std::byte*>(buffer.data()), kBytes};
}

void experts(benchmark::State& state, Type type, Isa isa, Kind kind, Shape shape) {
    const QuantDot& kernel = *find_quant_dot(type, isa);
    const std::int64_t row_bytes = quant::row_bytes(type, shape.n_values);
    const auto matrix_bytes = static_cast<std::size_t>(shape.n_rows * row_bytes);
    const auto blocks = random_blocks(shape.n_values);
    const auto bytes = experts_bytes();
    const double read = read_bandwidth();
    std::mt19937 random(3);
    float out[kRunRows];
    for (auto _ : state) {
        const std::byte* rows = bytes.data() + random() % (bytes.size() - matrix_bytes) / 64 * 64;
        for (std::int64_t r = 0; r < shape.n_rows; r += kRunRows) {
            const auto n_rows = static_cast<int>(std::min<std::int64_t>(kRunRows, shape.n_rows - r));
            kernel.dot_rows(rows + r * row_bytes, row_bytes, n_rows, blocks.data(), planes_of(kind),
                            shape.n_values, out);
            benchmark::DoNotOptimize(out);
        }
    }
    count_bytes(state, matrix_bytes, read);
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
    const Buffer scratch(tile_floats(kRowValues, k));
    std::vector<float> out(static_cast<std::size_t>(n_vectors * kRows));
    const RunVectors vectors{{x.data(), n_vectors, kRowValues, kRowValues}, {blocks.data(), n_blocks}};
    for (auto _ : state) {
        const RowRun run(k, quant_dot, planes_of(kind), w, 0, kRows, scratch.data());
        PackedInScratch packed;
        run.multiply(
            n_vectors, vectors, [](std::int64_t j) { return j; },
            [&](std::int64_t j, std::int64_t row, const float* dots, int n) {
                store_dots(&out[static_cast<std::size_t>(j * kRows + row)], dots, n);
            },
            packed);
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
                if (kind != Kind::f32) {
                    benchmark::RegisterBenchmark(("decode" + of + name).c_str(), decode, info->type, isa,
                                                 kind);
                    for (const Shape shape : kExpertShapes) {
                        if (shape.n_values % quant::type_info(info->type).block_values != 0) continue;
                        const std::string in_shape =
                            "/" + std::to_string(shape.n_values) + "x" + std::to_string(shape.n_rows);
                        benchmark::RegisterBenchmark(("experts" + of + name + in_shape).c_str(), experts,
                                                     info->type, isa, kind, shape);
                    }
                }
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
    return greenroom::bench::run_benchmarks(argc, argv, greenroom::cpu::register_all);
}
