// Q4_K: choosing the scales of a super-block.
//
// A value decodes to d · scale · q − dmin · min, with q below 16 and scale and min below 64. The search goes
// from the inside to the outside and back, and always minimizes the plain sum of squared errors:
//
// 1. For each group of 32 alone, real numbers a, b ≥ 0 with x ≈ a · q − b. Given a and b the best q's follow
// by rounding; given the q's the best a and b follow by linear least squares. Alternating the two ends in a
// local minimum, so it starts from several a's: from a range that clips the outer values to one that
// overshoots it.
//
// 2. d and dmin are such that the largest a and b just fit into six bits. Every group picks the scale and
// min, around its a and b, that give the least error with the d and dmin that will really be stored.
//
// 3. With all integers fixed, d and dmin are again a linear least-squares problem. Its solution goes through
// 2 once more.
//
// 2 and 3 are also tried with the 16 levels spread evenly over each group's range. That is seldom better, but
// makes sure that the result is never worse than the obvious encoding.

#include "quant/encode_block.h"
#include "quant/half.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace greenroom::quant {
namespace {

constexpr int kGroups = 8;
constexpr int kGroupValues = 32;
constexpr int kMaxQ = 15;
constexpr int kMaxScale = 63;

// x ≈ scale · q − min for the values of one group, and the sum of squared errors.
struct GroupFit {
    double scale = 0;
    double min = 0;
    double error = std::numeric_limits<double>::infinity();
};

// The nearest integer from 0 to largest; 0 for NaN.
int clamp_round(double value, int largest) noexcept {
    return static_cast<int>(std::min<double>(largest, std::max(0.0, value) + 0.5));
}

// The best q for each value, given scale and min. Returns the sum of squared errors.
double choose_q(const float* x, double scale, double min, std::uint8_t* q) noexcept {
    const double inverse = scale > 0 ? 1 / scale : 0;
    double error = 0;
    for (int j = 0; j < kGroupValues; ++j) {
        q[j] = static_cast<std::uint8_t>(clamp_round((x[j] + min) * inverse, kMaxQ));
        const double difference = scale * q[j] - min - x[j];
        error += difference * difference;
    }
    return error;
}

// The best scale and min for given q's, both kept from becoming negative.
void solve_scale_and_min(const float* x, const std::uint8_t* q, double& scale, double& min) noexcept {
    double sum_x = 0, sum_q = 0, sum_qq = 0, sum_qx = 0;
    for (int j = 0; j < kGroupValues; ++j) {
        sum_x += x[j];
        sum_q += q[j];
        sum_qq += q[j] * q[j];
        sum_qx += static_cast<double>(x[j]) * q[j];
    }
    const double determinant = kGroupValues * sum_qq - sum_q * sum_q;
    scale = determinant > 0 ? (kGroupValues * sum_qx - sum_q * sum_x) / determinant : 0;
    min = (scale * sum_q - sum_x) / kGroupValues;
    if (min < 0) {  // the best line through the origin
        min = 0;
        scale = sum_qq > 0 ? sum_qx / sum_qq : 0;
    }
    if (scale < 0) {  // the best constant
        scale = 0;
        min = std::max(0.0, -sum_x / kGroupValues);
    }
}

// The 16 levels from the smallest value (or 0) to the largest.
GroupFit spread_evenly(const float* x) noexcept {
    const auto [smallest, largest] = std::minmax_element(x, x + kGroupValues);
    const double min = std::max(0.0, -static_cast<double>(*smallest));
    return {(*largest + min) / kMaxQ, min};
}

// Step 1.
GroupFit fit_group(const float* x, const GroupFit& even) noexcept {
    std::uint8_t q[kGroupValues];
    GroupFit best;
    // More of either lowers the error by less than 0.5 % and costs in proportion.
    constexpr int kStarts = 8;
    constexpr int kAlternations = 2;
    for (int start = 0; start < kStarts; ++start) {
        GroupFit fit{even.scale * kMaxQ / (kMaxQ + 4.5 - 0.75 * start), even.min};
        for (int i = 0; i < kAlternations; ++i) {
            fit.error = choose_q(x, fit.scale, fit.min, q);
            if (fit.error < best.error) best = fit;
            solve_scale_and_min(x, q, fit.scale, fit.min);
        }
        fit.error = choose_q(x, fit.scale, fit.min, q);
        if (fit.error < best.error) best = fit;
    }
    return best;
}

// All that is stored of a super-block, not packed yet.
struct Choice {
    std::uint16_t d = 0;
    std::uint16_t dmin = 0;
    ScalesAndMins scales{};
    std::uint8_t q[BlockQ4K::kValues] = {};
    double error = std::numeric_limits<double>::infinity();
};

// Step 2: the best integers for given d and dmin.
Choice choose_integers(const float* x, const GroupFit (&fits)[kGroups], double d, double dmin) noexcept {
    Choice choice;
    choice.d = f32_to_f16(static_cast<float>(d));
    choice.dmin = f32_to_f16(static_cast<float>(dmin));
    choice.error = 0;
    const double stored_d = f16_to_f32(choice.d);
    const double stored_dmin = f16_to_f32(choice.dmin);
    for (int group = 0; group < kGroups; ++group) {
        const float* values = x + kGroupValues * group;
        const int scale = stored_d > 0 ? clamp_round(fits[group].scale / stored_d, kMaxScale) : 0;
        const int min = stored_dmin > 0 ? clamp_round(fits[group].min / stored_dmin, kMaxScale) : 0;
        double best_error = std::numeric_limits<double>::infinity();
        for (int s = std::max(0, scale - 1); s <= std::min(kMaxScale, scale + 1); ++s) {
            for (int m = std::max(0, min - 1); m <= std::min(kMaxScale, min + 1); ++m) {
                std::uint8_t q[kGroupValues];
                const double error = choose_q(values, stored_d * s, stored_dmin * m, q);
                if (error >= best_error) continue;
                best_error = error;
                choice.scales.scale[group] = static_cast<std::uint8_t>(s);
                choice.scales.min[group] = static_cast<std::uint8_t>(m);
                std::copy(q, q + kGroupValues, choice.q + kGroupValues * group);
            }
        }
        choice.error += best_error;
    }
    return choice;
}

// Step 3: the best d and dmin for given integers, where they are determined and positive.
void solve_d_and_dmin(const float* x, const Choice& choice, double& d, double& dmin) noexcept {
    // x ≈ d · u − dmin · v with u = scale · q and v = min.
    double sum_uu = 0, sum_uv = 0, sum_vv = 0, sum_ux = 0, sum_vx = 0;
    for (int j = 0; j < BlockQ4K::kValues; ++j) {
        const double u = choice.scales.scale[j / kGroupValues] * choice.q[j];
        const double v = choice.scales.min[j / kGroupValues];
        sum_uu += u * u;
        sum_uv += u * v;
        sum_vv += v * v;
        sum_ux += u * x[j];
        sum_vx += v * x[j];
    }
    const double determinant = sum_uu * sum_vv - sum_uv * sum_uv;
    if (determinant > 0) {
        d = (sum_ux * sum_vv - sum_uv * sum_vx) / determinant;
        dmin = (sum_ux * sum_uv - sum_uu * sum_vx) / determinant;
    } else if (sum_uu > 0) {
        d = sum_ux / sum_uu;
    } else if (sum_vv > 0) {
        dmin = -sum_vx / sum_vv;
    }
    d = std::max(0.0, d);
    dmin = std::max(0.0, dmin);
}

// Steps 2 and 3.
Choice choose(const float* x, const GroupFit (&fits)[kGroups]) noexcept {
    double d = 0;
    double dmin = 0;
    for (const GroupFit& fit : fits) {
        d = std::max(d, fit.scale / kMaxScale);
        dmin = std::max(dmin, fit.min / kMaxScale);
    }
    const Choice first = choose_integers(x, fits, d, dmin);
    solve_d_and_dmin(x, first, d, dmin);
    const Choice second = choose_integers(x, fits, d, dmin);
    return second.error < first.error ? second : first;
}

Choice search(const float* x) noexcept {
    GroupFit even[kGroups];
    GroupFit fitted[kGroups];
    for (int group = 0; group < kGroups; ++group) {
        even[group] = spread_evenly(x + kGroupValues * group);
        fitted[group] = fit_group(x + kGroupValues * group, even[group]);
    }
    const Choice from_even = choose(x, even);
    const Choice from_fitted = choose(x, fitted);
    return from_even.error < from_fitted.error ? from_even : from_fitted;
}

}  // namespace

void encode_block(const float* x, BlockQ4K& block) noexcept {
    block = {};
    const bool finite =
        std::all_of(x, x + BlockQ4K::kValues, [](float value) { return std::isfinite(value); });
    if (!finite) {
        block.d = block.dmin = f32_to_f16(std::numeric_limits<float>::quiet_NaN());
        return;
    }
    const Choice choice = search(x);
    block.d = choice.d;
    block.dmin = choice.dmin;
    pack_scales(choice.scales, block.scales);
    for (int j = 0; j < BlockQ4K::kValues / 2; ++j) {
        const std::uint8_t* even = choice.q + 64 * (j / 32) + j % 32;  // in the even group of the pair
        block.qs[j] = static_cast<std::uint8_t>(even[0] | even[32] << 4);
    }
}

}  // namespace greenroom::quant
