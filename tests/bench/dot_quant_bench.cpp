// Speed of the kernels of quantized weights, one thread.
//
//   decode/TYPE/ISA    one vector against rows that come from memory (more of them than the caches hold):
//                      bytes_per_second, and of_read as a fraction of what reading alone reaches in this run
//   prefill/TYPE/ISA/KIND/N   N vectors against the rows of a matrix that the second-level cache holds:
//                      items are multiplications. KIND q8: the kernels; f32: decoding and float32 products
//
// Build the target dot_quant_bench; --benchmark_filter=decode/Q4_K narrows it.

#include "cpu/buffer.h"
#include "cpu/dot_quant.h"
#include "cpu/kernels.h"
#include "cpu/row_tile.h"
#include "cpu/simd.h"
#include "quant/base/tensor_view.h"

#include <benchmark/benchmark.h>

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <new>
#include <random>
#include <string>
#include <vector>

namespace greenroom::cpu {
namespace {

using quant::Type;

constexpr std::int64_t kRowValues = 4096;
constexpr std::size_t kManyBytes = std::size_t{192} << 20;

// Memory in huge pages where the system gives them, as the experts' slots are: with small ones what is measured
// is how fast addresses are translated.
class HugePages {
  public:
    explicit HugePages(std::size_t n_bytes) : bytes_(std::aligned_alloc(kPage, n_bytes)), n_bytes_(n_bytes) {
        if (bytes_ == nullptr) throw std::bad_alloc();
        ::madvise(bytes_, n_bytes, MADV_HUGEPAGE);
    }
    ~HugePages() { std::free(bytes_); }
    HugePages(const HugePages&) = delete;
    HugePages& operator=(const HugePages&) = delete;

    std::byte* data() const noexcept { return static_cast<std::byte*>(bytes_); }
    std::size_t size() const noexcept { return n_bytes_; }

  private:
    static constexpr std::size_t kPage = std::size_t{2} << 20;

    void* bytes_;
    std::size_t n_bytes_;
};

// Bytes of which any two make a float16 between 0.07 and 1.
const HugePages& many_bytes() {
    static const HugePages bytes(kManyBytes);
    static const bool is_filled = [] {
        std::minstd_rand random(1);
        for (std::size_t i = 0; i < bytes.size(); ++i)
            bytes.data()[i] = static_cast<std::byte>(0x2c + (random() >> 8) % 0x10);
        return true;
    }();
    static_cast<void>(is_filled);
    return bytes;
}

std::vector<float> random_row(unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> row(static_cast<std::size_t>(kRowValues));
    for (float& v : row) v = normal(random);
    return row;
}

// In time of this thread, as the counters of the benchmarks are: other programs take none of it away.
GR_AVX2 double read_once(const HugePages& bytes) {
    const std::clock_t start = std::clock();
    __m256i sums[4] = {};
    for (std::size_t at = 0; at + 128 <= bytes.size(); at += 128)
        for (std::size_t i = 0; i < 4; ++i)
            sums[i] = _mm256_xor_si256(
                sums[i], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes.data() + at + 32 * i)));
    benchmark::DoNotOptimize(sums);
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    return static_cast<double>(bytes.size()) / seconds;
}

// Best of several passes over the same memory, in bytes per second.
double read_bandwidth() {
    static const double bandwidth = [] {
        double best = 0;
        for (int pass = 0; pass < 8; ++pass) best = std::max(best, read_once(many_bytes()));
        return best;
    }();
    return bandwidth;
}

void decode(benchmark::State& state, Type type, Isa isa) {
    const QuantDot& kernel = *find_quant_dot(type, isa);
    const auto row_bytes = static_cast<std::size_t>(quant::row_bytes(type, kRowValues));
    const auto x = random_row(2);
    std::vector<ActivationBlock> blocks(static_cast<std::size_t>(activation_blocks(kRowValues)));
    quantize_row_scalar(blocks.data(), x.data(), kRowValues);
    const auto& bytes = many_bytes();
    const double read = read_bandwidth();
    const std::size_t tile_bytes = kTileRows * row_bytes;
    std::size_t at = 0;
    float out[kTileRows];
    for (auto _ : state) {
        kernel.dot_rows(bytes.data() + at, static_cast<std::int64_t>(row_bytes), kTileRows, blocks.data(),
                        kRowValues, out);
        benchmark::DoNotOptimize(out);
        at += tile_bytes;
        if (at + tile_bytes > bytes.size()) at = 0;
    }
    const auto n_bytes = static_cast<double>(state.iterations()) * static_cast<double>(tile_bytes);
    state.SetBytesProcessed(static_cast<std::int64_t>(n_bytes));
    state.counters["of_read"] = benchmark::Counter(n_bytes / read, benchmark::Counter::kIsRate);
}

enum class Kind { q8, f32 };

void prefill(benchmark::State& state, Type type, Isa isa, Kind kind) {
    constexpr std::int64_t kRows = 64;
    const auto n_vectors = state.range(0);
    const TensorView w{type, 2, {kRowValues, kRows, 1, 1}, many_bytes().data()};
    const Kernels& k = kernels(isa);
    const QuantDot* quant_dot = kind == Kind::q8 ? find_quant_dot(type, isa) : nullptr;
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
            const RowTile tile(k, quant_dot, w, first, first + kTileRows, scratch.data());
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
            benchmark::RegisterBenchmark(("decode" + of).c_str(), decode, info->type, isa);
            for (const Kind kind : {Kind::q8, Kind::f32})
                benchmark::RegisterBenchmark(("prefill" + of + (kind == Kind::q8 ? "/q8" : "/f32")).c_str(),
                                             prefill, info->type, isa, kind)
                    ->Arg(1)
                    ->Arg(4)
                    ->Arg(16)
                    ->Arg(64)
                    ->Arg(512);
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
