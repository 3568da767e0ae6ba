#pragma once

// Parameters of the operations that cpu/ and gpu/ both offer (runtime/ops_concept.h lists the operations).

#include <cstdint>

namespace greenroom {

// Which values of a head are rotated together: neighbours (2i, 2i+1), as in the RoFormer paper and DeepSeek,
// or the two halves (i, i + n/2), as in GPT-NeoX and Qwen.
enum class RopePairing { neighbours, halves };

// How a router turns its logits into experts and weights.
struct RouterRule {
    // Softmax over all experts, over the chosen ones only (gpt-oss, Granite), or sigmoid of each.
    enum class Scoring { softmax, softmax_of_chosen, sigmoid };
    // What a group of experts is worth: DeepSeek-V2 takes its best expert, DeepSeek-V3 the sum of its best
    // two.
    enum class GroupScore { best, best_two };

    int n_experts = 0;
    int top_k = 0;
    Scoring scoring = Scoring::softmax;
    int n_groups = 1;       // experts are in n_groups equal groups …
    int n_groups_used = 1;  // … of which the best n_groups_used are candidates
    GroupScore group_score = GroupScore::best;
    bool normalize = false;  // divide the chosen scores by their sum
    float scale = 1.0F;      // multiplies the weights in the end
};

// Shape of multi-head latent attention in its absorbed form (DeepSeek-V2, arXiv:2405.04434, section 2.1):
// every head reads the same cached row, latent_dim values of compressed keys and values followed by rope_dim
// of rotated key.
struct MlaShape {
    int n_heads = 0;
    int latent_dim = 0;
    int rope_dim = 0;
    float scale = 0;  // of the scores, YaRN's factor included

    int row_dim() const noexcept { return latent_dim + rope_dim; }
};

// Shape of attention with grouped queries (Ainslie et al. 2023, arXiv:2305.13245): n_heads / n_kv_heads heads
// share a key and a value. A cached key row holds the keys of all kv heads; so does a value row their values.
struct GqaShape {
    int n_heads = 0;
    int n_kv_heads = 0;
    int head_dim = 0;   // of query and key
    int value_dim = 0;  // of value
    float scale = 0;    // of the scores
    // Which earlier positions a token at position p sees, besides itself: all of them (both 0); the last
    // window - 1 (Mistral's sliding window, arXiv:2310.06825); or those from the last multiple of `chunk` on
    // (Llama 4).
    std::int64_t window = 0;
    std::int64_t chunk = 0;

    int key_cols() const noexcept { return n_kv_heads * head_dim; }
    int value_cols() const noexcept { return n_kv_heads * value_dim; }
    std::int64_t first_visible(std::int64_t position) const noexcept {
        if (window > 0) return position < window ? 0 : position - window + 1;
        return chunk > 0 ? position / chunk * chunk : 0;
    }
};

// Shape of a gated DeltaNet layer (Yang et al. 2024, arXiv:2412.06464): each value head h keeps a state of
// value_dim × key_dim, read and written through the query and key of key head key_head(h).
struct DeltaNetShape {
    // Which key head a value head uses. Converters lay the value heads out so that either the heads of one
    // key follow each other (Qwen3-Next) or the keys come round again (Qwen3.5).
    enum class KeySharing { consecutive, round_robin };
    // Where the two gate logits of a head stand among the columns: all betas first, then all alphas
    // (Qwen3.5), or the betas of a key head's value heads and then their alphas, key head by key head
    // (Qwen3-Next).
    enum class GateOrder { betas_then_alphas, by_key_head };

    int n_key_heads = 0;
    int n_value_heads = 0;  // a multiple of n_key_heads
    int key_dim = 0;        // of a query and a key
    int value_dim = 0;
    int conv_width = 0;  // tokens that the convolution before it sees, this one included
    KeySharing sharing = KeySharing::consecutive;
    GateOrder gate_order = GateOrder::betas_then_alphas;

    int key_cols() const noexcept { return n_key_heads * key_dim; }
    int value_cols() const noexcept { return n_value_heads * value_dim; }
    // Of the convolved row: queries, keys, values.
    int channels() const noexcept { return 2 * key_cols() + value_cols(); }
    int heads_per_key() const noexcept { return n_value_heads / n_key_heads; }
    int key_head(int value_head) const noexcept {
        return sharing == KeySharing::consecutive ? value_head / heads_per_key() : value_head % n_key_heads;
    }
    int beta_column(int head) const noexcept {
        if (gate_order == GateOrder::betas_then_alphas) return head;
        return head / heads_per_key() * 2 * heads_per_key() + head % heads_per_key();
    }
    int alpha_column(int head) const noexcept {
        return beta_column(head) +
               (gate_order == GateOrder::betas_then_alphas ? n_value_heads : heads_per_key());
    }
    // Values kept between tokens: the last conv_width - 1 rows before the convolution, and the heads' states.
    std::int64_t conv_state_values() const noexcept { return std::int64_t{conv_width - 1} * channels(); }
    std::int64_t head_state_values() const noexcept {
        return std::int64_t{n_value_heads} * value_dim * key_dim;
    }
};

// How a gated network joins its two halves.
enum class Glu {
    silu,            // silu(gate) · up  (SwiGLU: Shazeer 2020, arXiv:2002.05202)
    clamped_swiglu,  // gpt-oss: gate and up cut off at 7, gate · sigmoid(1.702 · gate) · (up + 1)
};

// How activations meet quantized weights: as they are, as integers of 15 bits, or as integers of 8 bits where
// they meet experts and of 15 bits elsewhere; integers in blocks with a scale.
enum class Activations { f32, int16, int8 };

constexpr const char* activations_name(Activations activations) noexcept {
    return activations == Activations::f32 ? "f32" : activations == Activations::int16 ? "int16" : "int8";
}

}  // namespace greenroom
