#pragma once

// Parameters of the operations that cpu/ and gpu/ both offer (runtime/ops_concept.h lists the operations).

#include <cstdint>

namespace greenroom {

// Which values of a head are rotated together: neighbours (2i, 2i+1), as in the RoFormer paper and DeepSeek,
// or the two halves (i, i + n/2), as in GPT-NeoX and Qwen.
enum class RopePairing { neighbours, halves };

// How a router turns its logits into experts and weights.
struct RouterRule {
    enum class Scoring { softmax, sigmoid };
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

}  // namespace greenroom
