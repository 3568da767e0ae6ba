// Speed of attention, one thread, kernels of the selected ISA (GREENROOM_ISA forces one).
//
//   prefill/SHAPE/TYPE/C   the last tokens of a context of C, in one batch; items are multiplications of
//                          visible positions
//   decode/SHAPE/TYPE/C    one token that sees C positions; the caches of its layers come from memory, more
//   of
//                          them than the processor's caches hold: bytes_per_second of keys and values,
//                          of_read as a fraction of what reading alone reaches in this run, and items
//
// Shapes: gqa is that of Qwen3-30B-A3B (32 heads, 4 of keys and values, 128 values each), mha that of OLMoE
// (16 heads with keys and values of their own), gqa64 that of gpt-oss (64 heads, 8 of keys and values, 64
// values each), mla that of DeepSeek-V3 (128 heads, latent rows of 512 + 64). Types are those of the cached
// rows.

#include "cpu/attention.h"
#include "cpu/isa.h"
#include "tests/bench/read_bandwidth.h"
#include "tests/bench/run_benchmarks.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace greenroom::cpu {
namespace {

using quant::Type;

std::vector<float> random_row(std::int64_t n) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> row(static_cast<std::size_t>(n));
    for (float& v : row) v = normal(random);
    return row;
}

// The cache of a layer, at a place in the memory that all share. Its bytes are scales that are halves, and
// quants, of every type.
KvRows rows_at(std::size_t at, Type type, std::int64_t n_rows, std::int64_t n_values, int n_heads = 1) {
    return {bench::many_bytes().data() + at,  type,   n_rows, n_values,
            quant::row_bytes(type, n_values), n_heads};
}

struct Qwen3Heads {
    static constexpr const char* kName = "gqa";
    static constexpr int kHeads = 32;
    static constexpr int kKvHeads = 4;
    static constexpr int kDim = 128;
};

struct OlmoeHeads {
    static constexpr const char* kName = "mha";
    static constexpr int kHeads = 16;
    static constexpr int kKvHeads = 16;
    static constexpr int kDim = 128;
};

struct GptOssHeads {
    static constexpr const char* kName = "gqa64";
    static constexpr int kHeads = 64;
    static constexpr int kKvHeads = 8;
    static constexpr int kDim = 64;
};

template <class Heads>
class Gqa {
  public:
    static constexpr const char* kName = Heads::kName;
    static constexpr std::int64_t kPrefillTokens = 128;
    Gqa(Type type, std::int64_t n_rows)
        : type_(type), n_rows_(n_rows), side_bytes_(n_rows * quant::row_bytes(type, shape_.key_cols())) {}

    std::int64_t layer_bytes() const { return 2 * side_bytes_; }
    std::int64_t multiplications() const {
        return std::int64_t{shape_.n_heads} * (shape_.head_dim + shape_.value_dim);
    }
    std::int64_t q_cols() const { return std::int64_t{shape_.n_heads} * shape_.head_dim; }
    std::int64_t out_cols() const { return std::int64_t{shape_.n_heads} * shape_.value_dim; }
    std::int64_t max_row() const { return shape_.head_dim; }
    void attend(ThreadTeam& team, const Scratch& scratch, MatrixView out, ConstMatrixView q, std::size_t at,
                std::int64_t first_position) const {
        gqa_attention(team, scratch, out, q, rows_at(at, type_, n_rows_, shape_.head_dim, shape_.n_kv_heads),
                      rows_at(at + static_cast<std::size_t>(side_bytes_), type_, n_rows_, shape_.value_dim,
                              shape_.n_kv_heads),
                      first_position, shape_, {});
    }

  private:
    GqaShape shape_{Heads::kHeads, Heads::kKvHeads, Heads::kDim, Heads::kDim, 0.088F};
    Type type_;
    std::int64_t n_rows_;
    std::int64_t side_bytes_;
};

class Mla {
  public:
    static constexpr const char* kName = "mla";
    static constexpr std::int64_t kPrefillTokens = 8;
    Mla(Type type, std::int64_t n_rows) : type_(type), n_rows_(n_rows) {}

    std::int64_t layer_bytes() const { return n_rows_ * quant::row_bytes(type_, shape_.row_dim()); }
    std::int64_t multiplications() const {
        return std::int64_t{shape_.n_heads} * (shape_.row_dim() + shape_.latent_dim);
    }
    std::int64_t q_cols() const { return std::int64_t{shape_.n_heads} * shape_.row_dim(); }
    std::int64_t out_cols() const { return std::int64_t{shape_.n_heads} * shape_.latent_dim; }
    std::int64_t max_row() const { return shape_.row_dim(); }
    void attend(ThreadTeam& team, const Scratch& scratch, MatrixView out, ConstMatrixView q, std::size_t at,
                std::int64_t first_position) const {
        mla_attention(team, scratch, out, q, rows_at(at, type_, n_rows_, shape_.row_dim()), first_position,
                      shape_);
    }

  private:
    MlaShape shape_{128, 512, 64, 0.04F};
    Type type_;
    std::int64_t n_rows_;
};

enum class Phase { prefill, decode };

template <class Attention>
void attend(benchmark::State& state, Type type, Phase phase) {
    const std::int64_t context = state.range(0);
    const Attention attention(type, context);
    const std::int64_t n_tokens = phase == Phase::decode ? 1 : Attention::kPrefillTokens;
    ThreadTeam team(1);
    const Scratch scratch(1, attention_scratch_floats(attention.max_row()));
    const auto q = random_row(n_tokens * attention.q_cols());
    std::vector<float> out(static_cast<std::size_t>(n_tokens * attention.out_cols()));
    const auto layer_bytes = static_cast<std::size_t>(attention.layer_bytes());
    const double read = bench::read_bandwidth();
    std::size_t at = 0;
    for (auto _ : state) {
        attention.attend(team, scratch, {out.data(), n_tokens, attention.out_cols(), attention.out_cols()},
                         {q.data(), n_tokens, attention.q_cols(), attention.q_cols()}, at,
                         context - n_tokens);
        benchmark::DoNotOptimize(out.data());
        benchmark::ClobberMemory();
        if (phase == Phase::decode) at += layer_bytes;
        if (at + layer_bytes > bench::kManyBytes) at = 0;
    }
    // Of n tokens the last sees `context` positions, the one before one less, …
    const std::int64_t n_seen = n_tokens * context - n_tokens * (n_tokens - 1) / 2;
    state.SetItemsProcessed(state.iterations() * n_seen * attention.multiplications());
    if (phase == Phase::prefill) return;
    const auto n_bytes = static_cast<double>(state.iterations()) * static_cast<double>(layer_bytes);
    state.SetBytesProcessed(static_cast<std::int64_t>(n_bytes));
    state.counters["of_read"] = benchmark::Counter(n_bytes / read, benchmark::Counter::kIsRate);
}

template <class Attention>
void register_shape() {
    for (const auto& [phase, name] :
         {std::pair(Phase::prefill, "prefill/"), std::pair(Phase::decode, "decode/")})
        for (const Type type : {Type::F16, Type::Q8_0, Type::Q4_0})
            benchmark::RegisterBenchmark(
                (name + std::string(Attention::kName) + "/" + std::string(quant::type_name(type))).c_str(),
                attend<Attention>, type, phase)
                ->Arg(128)
                ->Arg(512)
                ->Arg(4096)
                ->Arg(16384);
}

void register_all() {
    register_shape<Gqa<Qwen3Heads>>();
    register_shape<Gqa<OlmoeHeads>>();
    register_shape<Gqa<GptOssHeads>>();
    register_shape<Mla>();
}

}  // namespace
}  // namespace greenroom::cpu

int main(int argc, char** argv) {
    return greenroom::bench::run_benchmarks(argc, argv, greenroom::cpu::register_all);
}
