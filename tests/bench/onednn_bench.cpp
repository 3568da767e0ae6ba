// oneDNN's brgemm beside the kernels of quantized weights, one thread: what a product of a matrix of weights,
// as it stands in the file, costs with either. Needs oneDNN 3 with ONEDNN_EXPERIMENTAL_UKERNEL, which no
// distribution packages; CMake finds it by dnnl_DIR or CMAKE_PREFIX_PATH.
//
//   TYPE/KIND/VALUESxROWS/N   N vectors against a matrix; one matrix after the other comes from memory. Items
//                             are multiplications. KIND:
//     int8, int16   greenroom, activations of 8 and of 15 bits, quantizing them included
//     bf16          brgemm: weights decoded to BF16 a tile of rows at a time, activations rounded to BF16 and
//                   packed
//     bf16_alone    the same without decoding and packing: rows that are BF16 already
//     s8_alone      brgemm on bytes that are there already, without the scales of blocks: no product of these
//                   types, but what bytes can reach
//
// --benchmark_filter=Q4_K narrows it.

#include "cpu/decode_row.h"
#include "cpu/encode_row.h"
#include "cpu/kernels.h"
#include "cpu/matmul.h"
#include "cpu/row_run.h"
#include "tests/bench/read_bandwidth.h"
#include "tests/bench/run_benchmarks.h"
#include "tests/support/random_data.h"

#include <benchmark/benchmark.h>
#include <oneapi/dnnl/dnnl_ukernel.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace greenroom::cpu {
namespace {

using dnnl::ukernel::brgemm;
using DataType = dnnl::memory::data_type;
using quant::Type;

// Gate, up and down of Qwen3-30B-A3B, and of gpt-oss.
struct Shape {
    std::int64_t n_values;
    std::int64_t n_rows;
};
constexpr Shape kShapes[] = {{2048, 768}, {768, 2048}, {2880, 2880}};

// Matrices of a shape, one after the other out of many_bytes().
class Matrices {
  public:
    Matrices(Type type, const Shape& shape)
        : type_(type),
          shape_(shape),
          n_bytes_(static_cast<std::size_t>(shape.n_rows * quant::row_bytes(type, shape.n_values))) {}

    TensorView next() {
        if (at_ + n_bytes_ > bench::kManyBytes) at_ = 0;
        const std::byte* data = bench::many_bytes().data() + at_;
        at_ += n_bytes_;
        return {type_, 2, {shape_.n_values, shape_.n_rows, 1, 1}, data};
    }

  private:
    Type type_;
    Shape shape_;
    std::size_t n_bytes_;
    std::size_t at_ = 0;
};

void count(benchmark::State& state, const Shape& shape, std::int64_t n_vectors) {
    state.SetItemsProcessed(state.iterations() * shape.n_values * shape.n_rows * n_vectors);
}

class Greenroom {
  public:
    Greenroom(const Shape& shape, std::int64_t n_vectors, Planes planes)
        : shape_(shape),
          n_vectors_(n_vectors),
          scratch_(1, tile_floats(shape.n_values)),
          buffer_(n_vectors * activation_blocks(shape.n_values), {planes, planes}) {}

    // out: [n_vectors, n_rows]
    void multiply(const TensorView& w, const float* x, float* out) {
        matmul(team_, scratch_, buffer_, {{{out, n_vectors_, shape_.n_rows, shape_.n_rows}, w}},
               {x, n_vectors_, shape_.n_values, shape_.n_values});
    }

  private:
    Shape shape_;
    std::int64_t n_vectors_;
    ThreadTeam team_{1};
    Scratch scratch_;
    ActivationBuffer buffer_;
};

// Products of tiles of kRows rows with up to kVectors vectors, in numbers of one type.
class Brgemm {
  public:
    static constexpr std::int64_t kRows = 32;
    static constexpr std::int64_t kVectors = 64;

    Brgemm(const Shape& shape, std::int64_t n_vectors, DataType of_rows, DataType of_vectors,
           DataType of_sums)
        : n_vectors_(std::min(n_vectors, kVectors)),
          gemm_(kRows, n_vectors_, shape.n_values, 1, shape.n_values, leading(), n_vectors_, of_rows,
                of_vectors, of_sums, true) {
        if (!gemm_) return;
        gemm_.set_add_C(false);
        if (!gemm_.finalize()) {
            gemm_.reset(nullptr);
            return;
        }
        gemm_.generate();
        scratch_.resize(gemm_.get_scratchpad_size());
    }

    bool works() const { return static_cast<bool>(gemm_); }
    void use() const { gemm_.set_hw_context(); }
    std::int64_t leading() const { return (n_vectors_ + 15) / 16 * 16; }
    // sums: [kRows, n_vectors]
    void multiply(const void* rows, const void* vectors, void* sums) {
        gemm_.execute(rows, vectors, one_, sums, scratch_.data());
    }

  private:
    std::int64_t n_vectors_;
    brgemm gemm_;
    std::vector<std::uint8_t> scratch_;
    std::vector<std::pair<dnnl::memory::dim, dnnl::memory::dim>> one_{{0, 0}};
};

class OnBrgemm {
  public:
    OnBrgemm(const Shape& shape, std::int64_t n_vectors, Type type)
        : shape_(shape),
          n_vectors_(n_vectors),
          at_once_(std::min(n_vectors, Brgemm::kVectors)),
          gemm_(shape, n_vectors, DataType::bf16, DataType::bf16, DataType::f32),
          pack_(shape.n_values, at_once_, dnnl::ukernel::pack_type::trans, shape.n_values, gemm_.leading(),
                DataType::bf16, DataType::bf16, true),
          decode_(find_row_decoder(type)),
          encode_(find_row_encoder(Type::BF16, kernels().isa)),
          decoded_(static_cast<std::size_t>(shape.n_values)),
          rows_(static_cast<std::size_t>(Brgemm::kRows * shape.n_values)),
          vectors_(static_cast<std::size_t>(at_once_ * shape.n_values)),
          packed_(static_cast<std::size_t>(n_vectors / at_once_ * gemm_.leading() * shape.n_values)),
          sums_(static_cast<std::size_t>(Brgemm::kRows * at_once_)) {
        if (pack_) pack_.generate();
    }

    bool works() const { return gemm_.works() && pack_; }

    void pack(const float* x) {
        for (std::int64_t first = 0; first < n_vectors_; first += at_once_) {
            for (std::int64_t j = 0; j < at_once_; ++j)
                encode_(x + (first + j) * shape_.n_values, bytes(&vectors_[index(j * shape_.n_values)]),
                        shape_.n_values);
            pack_.execute(vectors_.data(), packed(first));
        }
    }

    void decode(const TensorView& w, std::int64_t row) {
        for (std::int64_t r = 0; r < Brgemm::kRows; ++r) {
            decode_(w.row(row + r), decoded_.data(), shape_.n_values);
            encode_(decoded_.data(), bytes(&rows_[index(r * shape_.n_values)]), shape_.n_values);
        }
    }

    // The rows that were decoded. out: [n_vectors, n_rows], from `row` on.
    void multiply(float* out, std::int64_t row) {
        gemm_.use();
        for (std::int64_t first = 0; first < n_vectors_; first += at_once_) {
            gemm_.multiply(rows_.data(), packed(first), sums_.data());
            for (std::int64_t j = 0; j < at_once_; ++j)
                for (std::int64_t r = 0; r < Brgemm::kRows; ++r)
                    out[(first + j) * shape_.n_rows + row + r] = sums_[index(r * at_once_ + j)];
        }
    }

  private:
    static std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }
    static std::byte* bytes(std::uint16_t* values) { return reinterpret_cast<std::byte*>(values); }
    std::uint16_t* packed(std::int64_t first) {
        return &packed_[index(first / at_once_ * gemm_.leading() * shape_.n_values)];
    }

    Shape shape_;
    std::int64_t n_vectors_;
    std::int64_t at_once_;
    Brgemm gemm_;
    dnnl::ukernel::transform pack_;
    quant::DecodeFn decode_;
    quant::EncodeFn encode_;
    std::vector<float> decoded_;
    std::vector<std::uint16_t> rows_;
    std::vector<std::uint16_t> vectors_;
    std::vector<std::uint16_t> packed_;
    std::vector<float> sums_;
};

void greenroom_product(benchmark::State& state, Type type, const Shape& shape, Planes planes) {
    const std::int64_t n_vectors = state.range(0);
    const auto x = test::random_floats(n_vectors * shape.n_values, 1);
    std::vector<float> out(static_cast<std::size_t>(n_vectors * shape.n_rows));
    Greenroom product(shape, n_vectors, planes);
    Matrices matrices(type, shape);
    for (auto _ : state) {
        product.multiply(matrices.next(), x.data(), out.data());
        benchmark::ClobberMemory();
    }
    count(state, shape, n_vectors);
}

void onednn_product(benchmark::State& state, Type type, const Shape& shape, bool alone) {
    const std::int64_t n_vectors = state.range(0);
    const auto x = test::random_floats(n_vectors * shape.n_values, 1);
    std::vector<float> out(static_cast<std::size_t>(n_vectors * shape.n_rows));
    OnBrgemm product(shape, n_vectors, type);
    if (!product.works()) return state.SkipWithError("no brgemm of BF16 on this CPU");
    Matrices matrices(type, shape);
    product.pack(x.data());
    for (auto _ : state) {
        const TensorView w = matrices.next();
        if (!alone) product.pack(x.data());
        for (std::int64_t row = 0; row < shape.n_rows; row += Brgemm::kRows) {
            if (!alone) product.decode(w, row);
            product.multiply(out.data(), row);
        }
        benchmark::ClobberMemory();
    }
    count(state, shape, n_vectors);
}

void onednn_bytes(benchmark::State& state, const Shape& shape) {
    const std::int64_t n_vectors = state.range(0);
    const std::int64_t at_once = std::min(n_vectors, Brgemm::kVectors);
    Brgemm gemm(shape, n_vectors, DataType::u8, DataType::s8, DataType::s32);
    if (!gemm.works()) return state.SkipWithError("no brgemm of bytes on this CPU");
    gemm.use();
    const std::byte* rows = bench::many_bytes().data();
    const std::byte* vectors = rows + Brgemm::kRows * shape.n_values;
    std::vector<std::int32_t> sums(static_cast<std::size_t>(Brgemm::kRows * at_once));
    for (auto _ : state) {
        for (std::int64_t row = 0; row < shape.n_rows; row += Brgemm::kRows)
            for (std::int64_t first = 0; first < n_vectors; first += at_once)
                gemm.multiply(rows, vectors + first * shape.n_values, sums.data());
        benchmark::ClobberMemory();
    }
    count(state, shape, n_vectors);
}

// That both compute the same product: up to the rounding of BF16.
bool agree() {
    constexpr Shape kShape = {2048, 64};
    constexpr std::int64_t kVectors = 64;
    const auto x = test::random_floats(kVectors * kShape.n_values, 1);
    const TensorView w = Matrices(Type::Q4_K, kShape).next();
    std::vector<float> ours(static_cast<std::size_t>(kVectors * kShape.n_rows));
    std::vector<float> theirs(ours.size());
    Greenroom(kShape, kVectors, Planes::both).multiply(w, x.data(), ours.data());
    OnBrgemm product(kShape, kVectors, Type::Q4_K);
    if (!product.works()) return true;
    product.pack(x.data());
    for (std::int64_t row = 0; row < kShape.n_rows; row += Brgemm::kRows) {
        product.decode(w, row);
        product.multiply(theirs.data(), row);
    }
    double difference = 0;
    double size = 0;
    for (std::size_t i = 0; i < ours.size(); ++i) {
        difference += std::pow(static_cast<double>(ours[i] - theirs[i]), 2);
        size += std::pow(static_cast<double>(ours[i]), 2);
    }
    return difference < 1e-4 * size;
}

void register_all() {
    for (std::uint32_t id = 0; id < 64; ++id) {
        const auto* info = quant::find_type(id);
        if (info == nullptr || find_quant_dot(info->type, Isa::scalar) == nullptr) continue;
        const Type type = info->type;
        for (const Shape& shape : kShapes) {
            if (shape.n_values % quant::type_info(type).block_values != 0) continue;
            const auto add = [&](const char* kind, auto function, auto... arguments) {
                const std::string name = std::string(info->name) + kind + std::to_string(shape.n_values) +
                                         "x" + std::to_string(shape.n_rows);
                benchmark::RegisterBenchmark(name.c_str(), function, arguments...)
                    ->Arg(16)
                    ->Arg(64)
                    ->Arg(512);
            };
            add("/int8/", greenroom_product, type, shape, Planes::high);
            add("/int16/", greenroom_product, type, shape, Planes::both);
            add("/bf16/", onednn_product, type, shape, false);
            if (type != Type::Q8_0) continue;  // the same for all types
            add("/bf16_alone/", onednn_product, type, shape, true);
            add("/s8_alone/", onednn_bytes, shape);
        }
    }
}

}  // namespace
}  // namespace greenroom::cpu

int main(int argc, char** argv) {
    if (!greenroom::cpu::agree()) {
        std::fputs("onednn_bench: the products differ by more than BF16 rounds\n", stderr);
        return 1;
    }
    return greenroom::bench::run_benchmarks(argc, argv, greenroom::cpu::register_all);
}
