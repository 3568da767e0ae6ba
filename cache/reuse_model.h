#pragma once

// ReuseModel: estimates how soon each expert of a layer will be called again, from what was called so far,
// and learns to do it while it watches.
//
// What it estimates for an expert is y = discount^(d − 1), where its next call is d requests of the layer
// away: 1 if the next token calls it, near 0 if it is not called for long. (Belady's optimum keeps the
// experts with the highest y.) An estimate is the sum of two parts:
//
//   habit    Σ_i a_i · (average of the expert's calls, with decay d_i), for five decays from 0.5 to 0.98. The
//            five a_i are those of a ridge regression over all layers and experts, so a handful of tokens
//            settles them. On its own it is a decayed frequency whose decay fits the text at hand.
//   company  Σ_j c_j · C[j, e]: which experts are called soon after which. j runs over the experts that the
//            layer has called lately, c_j = Σ 0.6 · 0.7^age, and with a matrix of their own over those that
//            the MoE layer below has called for the same token. Each layer learns its two matrices from what
//            habit leaves unexplained, by normalised stochastic gradient descent [NLMS: Widrow & Hoff 1960;
//            Nagumo & Noda 1967] with a step per row that falls as the row is used. The regression also finds
//            the weight of this part, 0 to begin with: what was not learned does no harm.
//
// A token teaches when its future is known, up to 55 tokens later, and the rows of what it called 7 later.
//
// Time is a layer's number of requests, not Request::step, which only finds the request of the layer below
// that was for the same token, if that was among the layer's last 1024: so a batch may send them layer by
// layer. Steps may repeat, jump or fall, and several sequences may take turns.
//
// One thread. The constructor reserves everything. A request costs about (6 · top_k + 55) · n_experts
// multiply-adds. Measured with -O3 on one core of a busy 2.5 GHz Xeon, the median of three, in µs per
// request:
//
//     experts / top_k        64/6   128/8   256/8   384/8   512/10
//     decode                  3.3     6.6      15      30       38    bound by memory: each layer's matrices
//     batches of 512          2.8     6.4       7      12       22    are read anew for each token
//
// Memory: (2 · n_experts + 85) · n_experts · 4 bytes and 80 kB per layer (12 MB for 48 layers of 128 experts,
// 141 MB for 60 of 512).

#include "cache/policy.h"

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace greenroom::cache {

class ReuseModel {
  public:
    ReuseModel(int n_layers, int n_experts, int top_k);

    // What the constructor reserves.
    static std::int64_t bytes(int n_layers, int n_experts, int top_k) noexcept;

    // Takes note of a request, of at most top_k experts, and writes the estimate for each expert of its
    // layer, always finite. `horizon`: how many tokens ahead it matters whether an expert is called, at least
    // 1; discount = 1 − 1 / horizon.
    void observe(const Request& request, double horizon, std::span<double> estimates);

    // Of each expert of a layer, the average of its calls with decay 0.95: what habit starts as. Until the
    // next observe().
    std::span<const float> decayed_frequencies(int layer) const;

  private:
    static constexpr int kCalls = 1024;              // requests of a layer that are remembered
    static constexpr int kHistory = 64;              // of them, those whose estimates are
    static constexpr int kContext = 8;               // requests whose errors teach an expert's row
    static constexpr int kMostDelay = kHistory - 9;  // two at a time make up for a delay that falls
    static constexpr std::array<float, 5> kDecays = {0.5F, 0.8F, 0.9F, 0.95F, 0.98F};
    static constexpr int kHabits = static_cast<int>(kDecays.size());
    static constexpr int kParts = kHabits + 1;  // and company

    // One row of experts, [stride].
    using Row = std::span<float>;

    // A request of a layer. `time` is its number in the layer, from 0; -1: none.
    struct Moment {
        std::int64_t step = 0;
        std::int64_t time_below = -1;  // of the request of the layer below for the same token
        int n_experts = 0;
    };
    struct LayerClock {
        std::int64_t n_requests = 0;
        std::int64_t n_learned = 0;
    };

    Row row_of(std::vector<float>& rows, std::int64_t i) const;
    Row company_row(int layer, int matrix, std::int32_t expert);
    Row company_at(int layer, std::int64_t time);
    bool remembers(int layer, std::int64_t time) const;
    std::span<const std::int32_t> calls_at(int layer, std::int64_t time) const;
    std::span<const std::int32_t> calls_below(int layer, std::int64_t time) const;

    void remember(const Request& request, std::int64_t time);
    void add_calls(std::vector<float>& averages, int layer, std::span<const std::int32_t> experts);
    void sum_habits(std::vector<float>& averages, int layer, Row out);
    void predict_company(std::vector<float>& contexts, int layer, std::int64_t time, Row out);
    void learn(int layer, std::int64_t time, int delay);
    void learn_company(int layer, std::int64_t time);
    void learn_row(int layer, int matrix, std::int32_t expert, float share, Row gradient);
    void learn_parts(int layer, std::int64_t time);
    void solve_parts();

    int n_layers_;
    int n_experts_;
    int top_k_;
    std::int64_t stride_;  // of a row of experts; those behind the last stay 0

    // What was called, by layer and time modulo kCalls.
    std::vector<std::int32_t> calls_;         // [n_layers, kCalls, top_k]
    std::vector<Moment> moments_;             // [n_layers, kCalls]
    std::vector<std::int64_t> time_of_step_;  // [n_layers, kCalls], by step modulo kCalls
    std::vector<LayerClock> clocks_;          // [n_layers]
    std::vector<float> company_at_;  // [n_layers, kHistory, stride], company as it was estimated at that time

    std::vector<float> averages_;       // [n_layers, kHabits, stride]
    std::vector<float> past_averages_;  // the same, as they were at the last request that has taught
    std::vector<float> past_shares_;    // [n_layers, stride], c_j at that request
    std::vector<float> past_errors_;    // [n_layers, kContext, stride], of what has taught, over |c|²
    std::vector<float> context_;        // [n_layers, stride], Σ_j c_j · C[j, e] over the layer's own calls
    std::vector<float> past_context_;   // the same at that request, with the rows of later
    std::vector<float> company_;  // [n_layers, 2, n_experts, stride]: C for own calls, for the layer below
    std::vector<float> row_use_;  // [n_layers, 2, n_experts], how much each row was taught

    // Ridge regression of y over the parts.
    std::array<std::array<double, kParts>, kParts> gram_{};
    std::array<double, kParts> moment_{};
    std::array<float, kParts> weights_{};
    std::int64_t n_samples_ = 0;
    double horizon_ = 1;  // of the latest request

    std::vector<float> target_, scratch_, company_now_;  // [stride]
};

}  // namespace greenroom::cache
