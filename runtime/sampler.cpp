#include "runtime/sampler.h"

#include "quant/base/error.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <string_view>

namespace greenroom::runtime {
namespace {

// More than any prompt; longer than that the ring costs memory for nothing, and -1 does the same.
constexpr int kMaxPenaltyLastN = 1 << 20;

void check_range(std::string_view name, float value, float least, float most) {
    // Written so that NaN fails, too.
    if (!(value >= least && value <= most))
        fail(ErrorKind::bad_input, "sampler option {}: found {}, expected {} to {}", name, value, least,
             most);
}

void check_options(const SamplerOptions& options, int n_vocab) {
    constexpr float kMost = std::numeric_limits<float>::max();
    check_range("temperature", options.temperature, -kMost, kMost);
    check_range("top_p", options.top_p, 0.0F, kMost);
    check_range("min_p", options.min_p, -kMost, 1.0F);
    check_range("frequency_penalty", options.frequency_penalty, -kMost, kMost);
    check_range("presence_penalty", options.presence_penalty, -kMost, kMost);
    // A denormal would make logit / penalty infinite.
    check_range("repeat_penalty", options.repeat_penalty, std::numeric_limits<float>::min(), kMost);
    if (options.penalty_last_n < -1 || options.penalty_last_n > kMaxPenaltyLastN)
        fail(ErrorKind::bad_input, "sampler option penalty_last_n: found {}, expected 0 to {}, or -1 for all",
             options.penalty_last_n, kMaxPenaltyLastN);
    for (const LogitBias& bias : options.logit_bias) {
        if (bias.token < 0 || bias.token >= n_vocab)
            fail(ErrorKind::bad_input, "logit bias: token {}; the vocabulary has 0 to {}", bias.token,
                 n_vocab - 1);
        if (std::isnan(bias.bias) || bias.bias > kMost)
            fail(ErrorKind::bad_input, "logit bias of token {}: found {}, expected a number or -inf",
                 bias.token, bias.bias);
    }
}

bool penalizes(const SamplerOptions& options) {
    return options.penalty_last_n != 0 &&
           (options.repeat_penalty != 1.0F || options.frequency_penalty != 0.0F ||
            options.presence_penalty != 0.0F);
}

// One word of the random device: short enough to be typed again, and 2^32 answers are enough.
std::uint64_t fresh_seed() { return std::random_device{}(); }

// 1/0!, 1/1! … 1/13!
constexpr auto kInverseFactorials = [] {
    std::array<double, 14> values{1.0};
    double factorial = 1.0;
    for (std::size_t n = 1; n < values.size(); ++n) {
        factorial *= static_cast<double>(n);
        values[n] = 1.0 / factorial;
    }
    return values;
}();

// e^x for x <= 0, the same bits on every machine, which a libm doesn't promise. x = k·ln2 + r with
// |r| <= ln2/2, and the series of e^r up to r^13/13!, whose rest is below 1e-17.
double exp_of_nonpositive(double x) {
    if (x < -700.0) return 0.0;
    constexpr double kLog2E = 0x1.71547652b82fep0;
    constexpr double kLn2High = 0x1.62e42feep-1;  // few enough bits that k·kLn2High is exact
    constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
    constexpr double kRound = 0x1.8p52;  // adding it leaves no bits for a fraction
    const double k = (x * kLog2E + kRound) - kRound;
    const double r = (x - k * kLn2High) - k * kLn2Low;
    double sum = 0.0;
    for (std::size_t n = kInverseFactorials.size(); n-- > 0;) sum = sum * r + kInverseFactorials[n];
    const auto exponent = static_cast<std::uint64_t>(static_cast<std::int64_t>(k) + 1023) << 52;
    return sum * std::bit_cast<double>(exponent);
}

// Uniform in [0, 1): the 53 bits that a double holds. std::uniform_real_distribution may differ between
// libraries.
double draw_unit(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

// A total order, so that the result of a partial sort is the same everywhere.
constexpr auto higher_logit_first = [](const auto& a, const auto& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
};

// The functions below take Sampler's candidates; only logits and tokens are set at first.

// Sorts the next candidates after the first n_sorted, which are sorted. Returns how many now are.
std::size_t sort_more(auto& candidates, std::size_t n_sorted) {
    const std::size_t n = std::min(candidates.size(), std::max<std::size_t>(256, 4 * n_sorted));
    const auto first = candidates.begin() + static_cast<std::ptrdiff_t>(n_sorted);
    const auto last = candidates.begin() + static_cast<std::ptrdiff_t>(n);
    std::nth_element(first, last, candidates.end(), higher_logit_first);
    std::sort(first, last, higher_logit_first);
    return n;
}

void keep_top_k(auto& candidates, std::size_t k) {
    if (k >= candidates.size()) return;
    const auto last = candidates.begin() + static_cast<std::ptrdiff_t>(k);
    // A heap of k: three times as fast as nth_element for k = 40 of 160,000.
    std::partial_sort(candidates.begin(), last, candidates.end(), higher_logit_first);
    candidates.resize(k);
}

// Sets the probabilities up to a common factor: that of the highest logit is 1. Returns their sum.
double set_probabilities(auto& candidates, float temperature) {
    const auto by_logit = [](const auto& a, const auto& b) { return a.logit < b.logit; };
    const double top = std::max_element(candidates.begin(), candidates.end(), by_logit)->logit;
    double sum = 0;
    for (auto& candidate : candidates) {
        candidate.probability = static_cast<float>(exp_of_nonpositive((candidate.logit - top) / temperature));
        sum += candidate.probability;
    }
    return sum;
}

// The fewest of the most probable whose probabilities reach top_p together.
void keep_top_p(auto& candidates, float top_p) {
    const double wanted = top_p * set_probabilities(candidates, 1.0F);
    double reached = 0;
    std::size_t n_sorted = 0;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        // Usually the first few do, so the vocabulary is sorted bit by bit as needed.
        if (i == n_sorted) n_sorted = sort_more(candidates, n_sorted);
        reached += candidates[i].probability;
        if (reached >= wanted) return candidates.resize(i + 1);
    }
}

// Those that are at least min_p times as probable as the most probable one.
void keep_min_p(auto& candidates, float min_p) {
    set_probabilities(candidates, 1.0F);
    std::erase_if(candidates, [min_p](const auto& candidate) { return candidate.probability < min_p; });
}

[[noreturn]] void no_candidate(std::span<const float> logits) {
    if (std::any_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); }))
        fail(ErrorKind::bad_input, "the logit bias leaves no token to choose; ban fewer");
    fail(ErrorKind::bad_input, "none of the {} logits is a finite number. Is the model's file damaged?",
         logits.size());
}

}  // namespace

Sampler::Sampler(const SamplerOptions& options, int n_vocab) : options_(options) {
    GR_CHECK(n_vocab > 0);
    check_options(options_, n_vocab);
    seed_ = options_.seed ? *options_.seed : fresh_seed();
    random_.seed(seed_);
    logits_.resize(static_cast<std::size_t>(n_vocab));
    candidates_.reserve(static_cast<std::size_t>(n_vocab));
    if (penalizes(options_)) {
        counts_.resize(static_cast<std::size_t>(n_vocab));
        if (options_.penalty_last_n > 0) recent_.reserve(static_cast<std::size_t>(options_.penalty_last_n));
    }
}

std::int32_t Sampler::sample(std::span<const float> logits) {
    GR_CHECK(logits.size() == logits_.size());
    std::copy(logits.begin(), logits.end(), logits_.begin());
    for (const LogitBias& bias : options_.logit_bias)
        logits_[static_cast<std::size_t>(bias.token)] += bias.bias;
    apply_penalties();

    candidates_.clear();
    for (std::size_t i = 0; i < logits_.size(); ++i)
        if (std::isfinite(logits_[i]))
            candidates_.push_back({static_cast<std::int32_t>(i), logits_[i], 0.0F});
    if (candidates_.empty()) no_candidate(logits);
    if (options_.temperature <= 0.0F)
        return std::min_element(candidates_.begin(), candidates_.end(), higher_logit_first)->token;

    if (options_.top_k > 0) keep_top_k(candidates_, static_cast<std::size_t>(options_.top_k));
    if (options_.top_p < 1.0F) keep_top_p(candidates_, options_.top_p);
    if (options_.min_p > 0.0F) keep_min_p(candidates_, options_.min_p);

    const double point = draw_unit(random_) * set_probabilities(candidates_, options_.temperature);
    double passed = 0;
    std::int32_t chosen = candidates_.front().token;
    for (const Candidate& candidate : candidates_) {
        if (candidate.probability <= 0.0F) continue;
        chosen = candidate.token;  // also when rounding puts the point at the very end
        passed += candidate.probability;
        if (point < passed) break;
    }
    return chosen;
}

void Sampler::accept(std::int32_t token) {
    GR_CHECK(token >= 0 && static_cast<std::size_t>(token) < logits_.size());
    if (counts_.empty()) return;
    ++counts_[static_cast<std::size_t>(token)];
    if (options_.penalty_last_n < 0) return;
    if (recent_.size() < static_cast<std::size_t>(options_.penalty_last_n)) {
        recent_.push_back(token);
        return;
    }
    std::int32_t& oldest = recent_[recent_next_];
    --counts_[static_cast<std::size_t>(oldest)];
    oldest = token;
    recent_next_ = (recent_next_ + 1) % recent_.size();
}

void Sampler::apply_penalties() {
    for (std::size_t i = 0; i < counts_.size(); ++i) {
        if (counts_[i] == 0) continue;
        float& logit = logits_[i];
        // CTRL divides always, which would make a token with a negative logit more likely.
        logit = logit > 0.0F ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
        logit -= static_cast<float>(counts_[i]) * options_.frequency_penalty + options_.presence_penalty;
    }
}

}  // namespace greenroom::runtime
