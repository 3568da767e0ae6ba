#pragma once

// Frequencies of the rotary embedding, with the ways of stretching it over a longer context than it was
// trained on.

#include <vector>

namespace greenroom::runtime {

struct RopeScaling {
    enum class Kind { none, linear, yarn };

    Kind kind = Kind::none;
    float factor = 1.0F;  // new context / original context
    // YaRN only (Peng et al. 2023, arXiv:2309.00071):
    float original_context = 0;
    float beta_fast = 32.0F;  // rotations within the original context above which a dimension is left alone …
    float beta_slow = 1.0F;    // … and below which it is interpolated by the full factor
    bool rounds_range = true;  // to whole dimensions, outwards, as in the paper's code; gpt-oss does not
};

// θ_i = base^(-2i / n_dims) for i < n_dims / 2, scaled.
std::vector<float> rope_frequencies(int n_dims, float base, const RopeScaling& scaling);

// YaRN's factor for the length of query and key, 0.1 · multiplier · ln(factor) + 1 (arXiv:2309.00071, eq. 22;
// the multiplier is DeepSeek's mscale). 1 for factors up to 1.
float yarn_magnitude(float factor, float multiplier);

}  // namespace greenroom::runtime
