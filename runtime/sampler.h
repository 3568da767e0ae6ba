#pragma once

// Sampler: chooses the next token from logits. Same options, same seed and same logits give the same tokens
// on every machine. One per sequence; not thread-safe; allocates only in its constructor.
//
// The steps and their order are those that users of llama.cpp know:
//   logit bias → repetition/frequency/presence penalties over the last `penalty_last_n` tokens → top-k →
//   top-p → min-p → temperature → draw.  temperature <= 0 is greedy: the highest logit after bias and
//   penalties, lowest id first.

#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <vector>

namespace greenroom::runtime {

struct LogitBias {
    std::int32_t token = 0;
    float bias = 0.0F;  // added to the logit; -infinity bans the token
};

struct SamplerOptions {
    float temperature = 0.8F;
    int top_k = 40;       // <= 0: all tokens
    float top_p = 0.95F;  // >= 1: off.  Holtzman et al. 2019, "The Curious Case of Neural Text Degeneration"
    float min_p = 0.05F;  // <= 0: off.  Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling"
    int penalty_last_n = 64;      // tokens looked back at; 0: penalties off; -1: everything that was accepted
    float repeat_penalty = 1.0F;  // 1: off.  Keskar et al. 2019 (CTRL), section 4.1
    float frequency_penalty = 0.0F;  // times the number of occurrences
    float presence_penalty = 0.0F;   // once for a token that occurs
    std::vector<LogitBias> logit_bias;
    std::optional<std::uint64_t> seed;  // empty: taken from the system's random device
};

class Sampler {
  public:
    // Error{bad_input} for an option out of its range (NaN, repeat_penalty <= 0, a bias for a token >=
    // n_vocab).
    Sampler(const SamplerOptions& options, int n_vocab);

    // The next token for these logits (n_vocab values; not changed). Error{bad_input} where none of
    // them is finite, or none is left by the biases.
    std::int32_t sample(std::span<const float> logits);

    // Notes a token (of the prompt or a sampled one) for the penalties.
    void accept(std::int32_t token);

    std::uint64_t seed() const noexcept { return seed_; }  // the one in use

  private:
    struct Candidate {
        std::int32_t token;
        float logit;
        float probability;
    };

    void apply_penalties();

    SamplerOptions options_;
    std::uint64_t seed_ = 0;
    std::mt19937_64 random_;
    std::vector<Candidate> candidates_;
    std::vector<float> logits_;
    std::vector<std::int32_t> recent_;  // ring of the last penalty_last_n tokens
    std::size_t recent_next_ = 0;
    std::vector<std::int32_t> counts_;  // per token of the vocabulary: occurrences in recent_
};

}  // namespace greenroom::runtime
