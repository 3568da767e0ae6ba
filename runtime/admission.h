#pragma once

// Which misses get a slot in VRAM, and how many at a time: the rules of VramTier as functions of figures.

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace greenroom::runtime {

// Uploads that a batch may begin: this share of the last one's misses, less those that are still under way,
// but one where none is.
inline std::int64_t uploads_to_begin(double share, std::int64_t n_misses, std::int64_t n_under_way) noexcept {
    const std::int64_t n = std::llround(share * static_cast<double>(n_misses));
    return std::max<std::int64_t>(0, std::max<std::int64_t>(1, n) - n_under_way);
}

// Whether an expert is worth so much more than the one that would have to go that the two won't change places
// again and again: a part of how far those that are there, up to the best, lie apart. So it holds for every
// policy, whatever the unit of its scores.
inline constexpr double kAdmissionMargin = 0.05;
inline bool is_worth_more(double score, double victim, double best) noexcept {
    if (!(score > victim)) return false;
    const double spread = best - victim;  // infinite where the victim has never been called
    return !std::isfinite(spread) || score - victim > kAdmissionMargin * spread;
}

}  // namespace greenroom::runtime
