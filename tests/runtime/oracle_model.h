#pragma once

// A folder of reference data of one tiny model (tests/data/oracle): prompts, logits, hidden states and
// router choices of the reference implementation, and what it takes to compare with them.

#include "quant/base/matrix_view.h"
#include "runtime/engine.h"
#include "runtime/observer.h"
#include "runtime/session.h"
#include "tests/support/npy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace greenroom::test {

struct OracleModel {
    std::filesystem::path folder;

    NpyArray<float> floats(const std::string& name) const {
        return load_npy<float>(folder / (name + ".npy"));
    }
    NpyArray<std::int32_t> ids(const std::string& name) const {
        return load_npy<std::int32_t>(folder / (name + ".npy"));
    }
};

// A session that rounds nothing that the reference doesn't: activations and KV cache are kept in float32.
inline runtime::SessionOptions exact_session(std::int64_t context_tokens, std::int64_t batch_tokens) {
    return {.context_tokens = context_tokens,
            .batch_tokens = batch_tokens,
            .activations = Activations::f32,
            .kv_types = {quant::Type::F32, quant::Type::F32}};
}

// Logits [tokens, vocab] after each token, from an empty exact session with this batch size.
inline std::vector<float> all_logits(const runtime::Engine& engine, std::span<const std::int32_t> tokens,
                                     std::int64_t batch_tokens, runtime::ForwardObserver* observer = nullptr,
                                     Activations activations = Activations::f32) {
    runtime::SessionOptions session_options =
        exact_session(static_cast<std::int64_t>(tokens.size()), batch_tokens);
    session_options.activations = activations;
    runtime::Session session(engine, session_options);
    std::vector<float> logits;
    runtime::EvaluateOptions options;
    options.observer = observer;
    const auto keep = [&logits](std::int64_t, std::span<const float> row) {
        logits.insert(logits.end(), row.begin(), row.end());
    };
    EXPECT_EQ(session.evaluate_each(tokens, keep, options), runtime::Evaluated::done);
    return logits;
}

inline double max_abs_difference(std::span<const float> a, std::span<const float> b) {
    EXPECT_EQ(a.size(), b.size());
    double worst = 0;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
        const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
        if (!(difference <= worst)) worst = difference;  // also takes a NaN over
    }
    return worst;
}

inline std::vector<double> log_softmax(std::span<const float> logits) {
    const double highest = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float l : logits) sum += std::exp(static_cast<double>(l) - highest);
    std::vector<double> out;
    for (const float l : logits) out.push_back(static_cast<double>(l) - highest - std::log(sum));
    return out;
}

// KL(reference ‖ ours) of two rows of logits.
inline double kl_divergence(std::span<const float> reference, std::span<const float> ours) {
    const auto p = log_softmax(reference);
    const auto q = log_softmax(ours);
    double kl = 0;
    for (std::size_t i = 0; i < p.size(); ++i) kl += std::exp(p[i]) * (p[i] - q[i]);
    return kl;
}

// The same at every position of two arrays [positions, n_vocab], in order.
inline std::vector<double> kl_divergences(std::span<const float> reference, std::span<const float> ours,
                                          std::size_t n_vocab) {
    EXPECT_EQ(reference.size(), ours.size());
    std::vector<double> kl;
    for (std::size_t at = 0; at + n_vocab <= std::min(reference.size(), ours.size()); at += n_vocab)
        kl.push_back(kl_divergence(reference.subspan(at, n_vocab), ours.subspan(at, n_vocab)));
    return kl;
}

inline double max_kl(std::span<const float> reference, std::span<const float> ours, std::size_t n_vocab) {
    double worst = 0;
    for (const double kl : kl_divergences(reference, ours, n_vocab)) worst = std::max(worst, kl);
    return worst;
}

// Keeps all that passes by.
class Recorder : public runtime::ForwardObserver {
  public:
    struct Choice {
        std::vector<std::int32_t> experts;
        std::vector<float> weights;
    };

    void on_hidden(int layer, std::int64_t, ConstMatrixView hidden) override {
        for (std::int64_t t = 0; t < hidden.n_rows; ++t) {
            const auto row = hidden.row_span(t);
            hidden_[layer].insert(hidden_[layer].end(), row.begin(), row.end());
        }
    }

    void on_router(const runtime::RouterChoice& made) override {
        Choice& choice = choices_[made.layer];
        choice.experts.insert(choice.experts.end(), made.experts.begin(), made.experts.end());
        choice.weights.insert(choice.weights.end(), made.weights.begin(), made.weights.end());
    }

    // By layer, -1 the embedding: [tokens, d_model].
    const std::map<int, std::vector<float>>& hidden() const { return hidden_; }
    // By MoE layer: [tokens, top_k].
    const std::map<int, Choice>& choices() const { return choices_; }

  private:
    std::map<int, std::vector<float>> hidden_;
    std::map<int, Choice> choices_;
};

}  // namespace greenroom::test
