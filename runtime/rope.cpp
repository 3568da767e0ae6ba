#include "runtime/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace greenroom::runtime {
namespace {

// The dimension pair that turns `rotations` times within the original context (arXiv:2309.00071,
// section 3.2).
double pair_with_rotations(double rotations, int n_dims, double base, double original_context) {
    return n_dims * std::log(original_context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(base));
}

}  // namespace

std::vector<float> rope_frequencies(int n_dims, float base, const RopeScaling& scaling) {
    double first = 0;
    double last = 0;
    if (scaling.kind == RopeScaling::Kind::yarn) {
        first = pair_with_rotations(scaling.beta_fast, n_dims, base, scaling.original_context);
        last = pair_with_rotations(scaling.beta_slow, n_dims, base, scaling.original_context);
        if (scaling.rounds_range) {
            first = std::floor(first);
            last = std::ceil(last);
        }
        first = std::max(first, 0.0);
        last = std::min(last, static_cast<double>(n_dims - 1));
        if (last <= first) last = first + 0.001;  // a step instead of a ramp
    }
    std::vector<float> frequencies;
    for (int i = 0; i < n_dims / 2; ++i) {
        const double plain = std::pow(static_cast<double>(base), -2.0 * i / n_dims);
        const double stretched = plain / scaling.factor;
        double share = 0;  // of the stretched frequency
        if (scaling.kind == RopeScaling::Kind::linear) share = 1;
        if (scaling.kind == RopeScaling::Kind::yarn)
            share = std::clamp((i - first) / (last - first), 0.0, 1.0);
        frequencies.push_back(static_cast<float>(stretched * share + plain * (1 - share)));
    }
    return frequencies;
}

float yarn_magnitude(float factor, float multiplier) {
    return factor <= 1.0F ? 1.0F : 0.1F * multiplier * std::log(factor) + 1.0F;
}

}  // namespace greenroom::runtime
