#pragma once

// The most likely tokens of a row of logits, so that a sampler needs a few hundred of them and not all.

#include <cstdint>
#include <span>

namespace greenroom::gpu {

class Stream;

inline constexpr int kMaxCandidates = 256;

// Words of scratch for rows of n_logits and k candidates.
std::int64_t top_candidates_scratch(std::int64_t n_logits, int k) noexcept;

// ids and values: the k = ids.size() <= kMaxCandidates highest of the logits, falling; of equal ones the
// lower id first; NaN after all others. Where there are fewer than k logits the rest has id -1 and value NaN.
// Device or mapped memory; scratch: top_candidates_scratch(), device memory. Only enqueues.
void top_candidates(Stream& stream, std::span<std::int32_t> ids, std::span<float> values,
                    std::span<const float> logits, std::span<std::uint64_t> scratch);

}  // namespace greenroom::gpu
