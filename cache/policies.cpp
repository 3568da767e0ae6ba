#include "cache/policies.h"

#include "cache/learned_policy.h"
#include "quant/base/error.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cmath>
#include <random>

namespace greenroom::cache {
namespace {

constexpr std::array<std::string_view, 6> kNames = {"learned", "decay", "lru", "lfu", "fifo", "random"};

// The base class keeps the last use and takes the oldest among equal scores; all are equal here.
class Lru : public Policy {
  public:
    Lru(const CacheShape& shape, Scope scope) : Policy(shape, scope) {}

  private:
    void update(const Request& request) override { scores_of(request.layer); }
};

class Fifo : public Policy {
  public:
    Fifo(const CacheShape& shape, Scope scope) : Policy(shape, scope) {}

  private:
    void update(const Request& /*request*/) override {}
    void loaded(ExpertId id) override {
        scores_of(id.layer)[static_cast<std::size_t>(id.index)] = static_cast<double>(++n_loads_);
    }

    std::int64_t n_loads_ = 0;
};

// The same sequence of victims every time: results can be repeated.
class Random : public Policy {
  public:
    Random(const CacheShape& shape, Scope scope) : Policy(shape, scope) {}

    std::optional<ExpertId> victim(int layer) override {
        const bool one_layer = scope() == Scope::layer;
        const int first = one_layer ? layer : 0;
        const int end = one_layer ? layer + 1 : shape().n_layers;
        int n = 0;
        for (int i = first; i < end; ++i) n += n_evictable(i);
        if (n == 0) return std::nullopt;
        auto left = static_cast<int>(generator_() % static_cast<std::uint64_t>(n));
        for (ExpertId id{first, 0};; ++id.layer) {
            for (id.index = 0; id.index < shape().n_experts; ++id.index)
                if (is_evictable(id) && left-- == 0) return id;
        }
    }

  private:
    void update(const Request& /*request*/) override {}

    std::mt19937_64 generator_{};
};

class Lfu : public Policy {
  public:
    Lfu(const CacheShape& shape, Scope scope) : Policy(shape, scope) {}

  private:
    void update(const Request& request) override {
        const std::span<double> scores = scores_of(request.layer);
        for (const std::int32_t i : request.experts) scores[static_cast<std::size_t>(i)] += 1;
    }
};

// Σ over its calls of decay^(now − step). All sums fall by the same factor when a token passes, so their
// order is kept by what they would be at step 0: score = log2 Σ decay^(−step), which only a call changes.
class Decay : public Policy {
  public:
    Decay(double decay, const CacheShape& shape, Scope scope)
        : Policy(shape, scope), log_decay_(std::log2(decay)) {
        GR_CHECK(decay > 0 && decay < 1);
        for (int layer = 0; layer < shape.n_layers; ++layer)
            for (double& score : scores_of(layer)) score = -std::numeric_limits<double>::infinity();
    }

  private:
    void update(const Request& request) override {
        const std::span<double> scores = scores_of(request.layer);
        const double call = -log_decay_ * static_cast<double>(request.step);
        for (const std::int32_t i : request.experts) {
            double& score = scores[static_cast<std::size_t>(i)];
            const double high = std::max(score, call);
            score = high + std::log2(1 + std::exp2(std::min(score, call) - high));
        }
    }

    double log_decay_;
};

}  // namespace

std::span<const std::string_view> policy_names() noexcept { return kNames; }

std::unique_ptr<Policy> make_policy(std::string_view name, const CacheShape& shape, Scope scope) {
    if (name == "learned") return make_learned_policy(shape, scope);
    if (name == "lru") return std::make_unique<Lru>(shape, scope);
    if (name == "fifo") return std::make_unique<Fifo>(shape, scope);
    if (name == "random") return std::make_unique<Random>(shape, scope);
    if (name == "lfu") return std::make_unique<Lfu>(shape, scope);
    if (name == "decay") return make_decay_policy(0.95, shape, scope);
    fail(ErrorKind::bad_input, "cache policy '{}' is not known; the policies are {}", name,
         fmt::join(kNames, ", "));
}

std::int64_t policy_bytes(std::string_view name, const CacheShape& shape) {
    constexpr std::int64_t kBooksPerExpert = 24;
    const std::int64_t books = std::int64_t{shape.n_layers} * shape.n_experts * kBooksPerExpert;
    return name == "learned" ? books + learned_policy_bytes(shape) : books;
}

std::unique_ptr<Policy> make_decay_policy(double decay, const CacheShape& shape, Scope scope) {
    return std::make_unique<Decay>(decay, shape, scope);
}

}  // namespace greenroom::cache
