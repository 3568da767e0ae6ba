// llama4: Llama 4 Scout and Maverick (text part).
//
// Three of four layers rotate and see only their chunk of the context; the fourth has no position embedding,
// sees all, and sharpens its queries at late positions. The weight of the chosen expert multiplies its input.
// What the file does not say is fixed by the architecture: chunk, period, temperature, and that query and key
// are normalised unless there are 128 experts (Maverick).

#include "quant/base/error.h"
#include "quant/decode.h"
#include "runtime/arch/architectures.h"
#include "runtime/arch/common.h"

namespace greenroom::runtime {
namespace {

constexpr std::int64_t kChunk = 8192;
constexpr int kUnrotatedPeriod = 4;
constexpr float kTemperature = 0.1F;
constexpr float kTemperatureFloor = 8192.0F;
constexpr int kExpertsOfMaverick = 128;

// Scout's file holds a divisor for each frequency (Llama 3's scaling of long contexts, worked out by the
// converter).
void divide_frequencies(const quant::Gguf& gguf, RopeSpec& rope) {
    const quant::GgufTensor* factors = gguf.find_tensor("rope_freqs.weight");
    if (factors == nullptr) return;
    const auto n = static_cast<std::int64_t>(rope.frequencies.size());
    if (factors->view.type != quant::Type::F32 || factors->view.n_values() != n ||
        factors->view.row_values() != n)
        fail(ErrorKind::bad_input, "{}: tensor rope_freqs.weight: expected {} values of type F32",
             gguf.path(), n);
    std::vector<float> divisors(rope.frequencies.size());
    quant::decode_row(factors->view.type, factors->view.data, divisors.data(), n);
    for (std::size_t i = 0; i < divisors.size(); ++i) {
        if (!(divisors[i] > 0.0F))
            fail(ErrorKind::bad_input, "{}: tensor rope_freqs.weight: value {} is {}, expected more than 0",
                 gguf.path(), i, divisors[i]);
        rope.frequencies[i] /= divisors[i];
    }
    rope.has_divisors = true;
}

}  // namespace

ModelSpec read_llama4(const quant::Gguf& gguf) {
    const ArchMetadata meta(gguf, "llama4");
    ModelSpec spec = read_dimensions(meta);
    const GqaSpec gqa = read_gqa(meta);
    spec.rope = read_rope(meta, gqa.shape.head_dim, RopePairing::neighbours, read_rope_scaling(meta));
    divide_frequencies(gguf, spec.rope);

    MoeFfnSpec moe = read_moe(meta);
    moe.router.scoring = RouterRule::Scoring::sigmoid;
    moe.weighs_input = true;
    moe.shared_d_ff = moe.d_ff;

    GqaSpec rotated = gqa;
    rotated.shape.chunk = kChunk;
    if (moe.router.n_experts != kExpertsOfMaverick) rotated.qk_norm = GqaSpec::QkNorm::after_rope;
    GqaSpec unrotated = gqa;
    unrotated.rotates = false;
    unrotated.has_temperature = true;
    spec.temperature = {kTemperature, kTemperatureFloor};

    const int n_layers = read_n_layers(meta);
    const int moe_step = meta.require_int("interleave_moe_layer_step", 1, kMaxLayers);
    for (int i = 0; i < n_layers; ++i) {
        const GqaSpec& attention = (i + 1) % kUnrotatedPeriod == 0 ? unrotated : rotated;
        if ((i + 1) % moe_step == 0)
            spec.layers.push_back({attention, moe});
        else
            spec.layers.push_back({attention, DenseFfnSpec{meta.require_int("feed_forward_length", 1)}});
    }
    return spec;
}

}  // namespace greenroom::runtime
