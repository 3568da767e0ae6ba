#include "runtime/scheduler.h"

#include "quant/base/error.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

namespace greenroom::runtime {
namespace {

// How long a wait for reads may keep it from looking whether it is cancelled.
constexpr std::chrono::milliseconds kLookAtCancelled{20};

// Experts to compute before their slots are looked at again, while others wait for a slot.
constexpr std::size_t kTasksAtOnce = 8;

}  // namespace

std::int64_t ExpertScheduler::working_bytes(const ModelSpec& spec, std::int64_t batch_tokens) noexcept {
    const ModelExtent extent = extent_of(spec);
    const std::int64_t n_calls = batch_tokens * extent.max_top_k;
    return n_calls * (spec.d_model + extent.max_expert_d_ff) * static_cast<std::int64_t>(sizeof(float));
}

ExpertScheduler::ExpertScheduler(const ModelSpec& spec, const Weights& weights, cpu::Ops& ops, RamTier* tier,
                                 std::int64_t batch_tokens)
    : spec_(spec), weights_(weights), ops_(ops), tier_(tier) {
    const ModelExtent extent = extent_of(spec);
    const std::int64_t n_calls = batch_tokens * extent.max_top_k;
    results_ = cpu::Buffer(n_calls * spec.d_model);
    hidden_ = cpu::Buffer(n_calls * extent.max_expert_d_ff);
    const auto n_experts = static_cast<std::size_t>(extent.max_experts);
    calls_.resize(static_cast<std::size_t>(n_calls));
    ends_.resize(n_experts);
    called_.reserve(n_experts);
    token_experts_.reserve(static_cast<std::size_t>(extent.max_top_k));
    token_factors_.reserve(static_cast<std::size_t>(extent.max_top_k));
    of_expert_.resize(n_experts);
    ready_.reserve(n_experts);
    refused_.reserve(n_experts);
    tasks_.reserve(n_experts);
    if (tier != nullptr)
        guessed_at_.assign(
            static_cast<std::size_t>(ExpertOptions::kMaxPrefetchLayers) * tier->layouts().slots().size(), -1);
}

const MoeFfnSpec& ExpertScheduler::layer_spec() const {
    return std::get<MoeFfnSpec>(spec_.layers[static_cast<std::size_t>(layer_)].ffn);
}

const MoeFfnWeights& ExpertScheduler::layer_weights() const {
    return std::get<MoeFfnWeights>(weights_.layers[static_cast<std::size_t>(layer_)].ffn);
}

void ExpertScheduler::begin(int layer, ConstMatrixView x, std::span<const std::int32_t> experts,
                            std::span<const float> factors) {
    layer_ = layer;
    ordinal_ = tier_->layouts().ordinal(layer);
    const MoeFfnSpec& moe = layer_spec();
    x_ = x;
    experts_ = experts;
    factors_ = factors;
    tokens_are_quantized_ = false;
    ready_.clear();
    refused_.clear();
    group_calls(moe.router.n_experts);
    holds_ = !tier_->is_complete();
    if (!holds_) {
        tier_->cache().count_hits(ordinal_, static_cast<std::int64_t>(called_.size()));
        for (std::size_t i = 0; i < called_.size(); ++i) ready_.push_back(static_cast<std::int32_t>(i));
        return;
    }
    if (ordinal_ == 0)
        first_step_ = tier_->take_steps(static_cast<std::int64_t>(experts.size()) / moe.router.top_k);
    count_foreseen();
    tell_policy(moe.router.top_k);
    tier_->cache().release_all(ordinal_);  // what an evaluation that ended in an error may have left
    // Those that are there first: they are held before anybody has to go.
    for (const bool resident : {true, false})
        for (std::int32_t place = 0; place < static_cast<std::int32_t>(called_.size()); ++place)
            if (tier_->cache().is_resident(id_of(place)) == resident) demand(place);
    tier_->cache().cancel_prefetches(ordinal_);
}

// Demands an expert: to ready_ if it is there, to refused_ if there is no slot for it.
void ExpertScheduler::demand(std::int32_t place) {
    switch (tier_->cache().demand(id_of(place))) {
        case cache::Demand::hit:
            ready_.push_back(place);
            break;
        case cache::Demand::no_slot:
            refused_.push_back(place);
            break;
        case cache::Demand::reading:
            break;
    }
}

int ExpertScheduler::n_guesses(std::int64_t n_tokens) const noexcept {
    if (tier_ == nullptr || tier_->is_complete()) return 0;
    return wants_whole_layers(n_tokens) ? 0 : tier_->options().prefetch_layers;
}

// Whether a batch calls so many experts that it is no use to guess which.
bool ExpertScheduler::wants_whole_layers(std::int64_t n_tokens) const noexcept {
    return n_tokens > 1 && 2 * n_tokens * tier_->layouts().top_k() > tier_->layouts().n_experts();
}

void ExpertScheduler::expect(const RouterGuess& guess) {
    const int ordinal = tier_->layouts().ordinal(guess.layer);
    const auto top_k = static_cast<std::size_t>(guess.rule.top_k);
    const std::size_t row = guess_row(guess.distance, ordinal);
    // Where all layers compete, what a later one is expected to call had better stay.
    if (tier_->policy().scope() == cache::Scope::global)
        for (std::size_t i = 0; i < guess.experts.size(); i += top_k) {
            take_token(guess.experts.subspan(i, top_k), {});
            tier_->cache().on_prediction({.layer = ordinal, .step = first_step_, .experts = token_experts_});
        }
    // The likeliest of all tokens first.
    for (std::size_t k = 0; k < top_k; ++k)
        for (std::size_t i = k; i < guess.experts.size(); i += top_k) {
            const std::int32_t expert = guess.experts[i];
            if (expert == kNotHere) continue;
            guessed_at_[row + static_cast<std::size_t>(expert)] = first_step_;
            tier_->cache().prefetch({ordinal, expert});
        }
}

bool ExpertScheduler::finish(MatrixView out, const std::atomic<bool>* cancelled) {
    const MoeFfnSpec& moe = layer_spec();
    if (!holds_) {
        if (!ready_.empty()) compute(ready_);
    } else {
        try {
            if (!compute_as_they_come(cancelled)) {
                let_go();
                return false;
            }
        } catch (...) {
            let_go();
            throw;
        }
        let_go();
        if (ordinal_ + 1 == tier_->layouts().n_layers()) tier_->read_ahead_of_next_token();
        tier_->fill();
    }
    if (called_.empty()) return true;
    const MatrixView results = layer_results();
    for (std::size_t call = 0; call < experts_.size(); ++call)
        if (experts_[call] == kNotHere)
            std::ranges::fill(results.row_span(static_cast<std::int64_t>(call)), 0.0F);
    // A weight multiplies either the expert's input or its output.
    cpu::add_weighted(ops_.team(), out, results, moe.weighs_input ? std::span<const float>() : factors_,
                      moe.router.top_k);
    return true;
}

// What this layer holds beyond its share goes. What it has just used goes last: while it is held, others are
// chosen.
void ExpertScheduler::let_go() {
    tier_->cache().settle(ordinal_);
    tier_->cache().release_all(ordinal_);
    tier_->cache().settle(ordinal_);
}

bool ExpertScheduler::compute_as_they_come(const std::atomic<bool>* cancelled) {
    cache::ExpertCache& cache = tier_->cache();
    const bool reads_layer_ahead = wants_whole_layers(x_.n_rows) && tier_->options().prefetch_layers > 0 &&
                                   ordinal_ + 1 < tier_->layouts().n_layers();
    std::array<cache::ExpertId, 32> arrived;
    std::size_t n_left = called_.size();
    while (n_left > 0) {
        if (reads_layer_ahead && refused_.empty()) tier_->read_ahead(ordinal_ + 1);
        if (!ready_.empty()) {
            // While others wait for a slot, a few at a time, so that theirs are free soon.
            const std::size_t n = refused_.empty() ? ready_.size() : std::min(ready_.size(), kTasksAtOnce);
            compute(std::span(ready_).first(n));
            n_left -= n;
            if (!refused_.empty())
                for (const std::int32_t place : std::span(ready_).first(n)) cache.release(id_of(place));
            ready_.erase(ready_.begin(), ready_.begin() + static_cast<std::ptrdiff_t>(n));
        }
        const bool must_wait = ready_.empty() && n_left > 0;
        const std::size_t n_arrived = cache.take_in(
            arrived, must_wait && cache.n_reading() > 0 ? kLookAtCancelled : std::chrono::microseconds(0));
        for (const cache::ExpertId id : std::span(arrived).first(n_arrived))
            if (id.layer == ordinal_) ready_.push_back(of_expert_[static_cast<std::size_t>(id.index)]);
        retry_refused();
        GR_CHECK(!must_wait || !ready_.empty() || cache.n_reading() > 0);  // else it would wait for ever
        if (ready_.empty() && n_left > 0 && cancelled != nullptr &&
            cancelled->load(std::memory_order_relaxed))
            return false;
    }
    return true;
}

void ExpertScheduler::retry_refused() {
    const std::size_t n = refused_.size();
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t n_before = refused_.size();
        demand(refused_[i]);
        if (refused_.size() > n_before) {  // refused again, and so would be the others
            refused_.pop_back();
            refused_.erase(refused_.begin(), refused_.begin() + static_cast<std::ptrdiff_t>(i));
            return;
        }
    }
    refused_.clear();
}

// A row per call.
MatrixView ExpertScheduler::layer_results() const noexcept {
    return {results_.data(), static_cast<std::int64_t>(experts_.size()), spec_.d_model, spec_.d_model};
}

// The results of the calls of these places in called_, all of which are in memory.
void ExpertScheduler::compute(std::span<const std::int32_t> ready) {
    const MoeFfnSpec& moe = layer_spec();
    const MoeFfnWeights& weights = layer_weights();
    tasks_.clear();
    for (const std::int32_t place : ready) {
        const Called& called = called_[static_cast<std::size_t>(place)];
        const ExpertWeights expert = tier_->weights(id_of(place));
        cpu::ExpertTask task{expert.gate, expert.up, expert.down, called.calls};
        if (!weights.gate_bias.empty()) {
            task.gate_bias = weights.gate_bias.data() + called.expert * expert.gate.shape[1];
            task.up_bias = weights.up_bias.data() + called.expert * expert.up.shape[1];
            task.down_bias = weights.down_bias.data() + called.expert * expert.down.shape[1];
        }
        tasks_.push_back(task);
    }
    const MatrixView results = layer_results();
    const MatrixView hidden{hidden_.data(), results.n_rows, moe.d_ff, moe.d_ff};
    cpu::run_experts(ops_.team(), ops_.scratch(), ops_.activations(), results, hidden, x_, moe.router.top_k,
                     moe.glu, moe.weighs_input ? factors_ : std::span<const float>(), tasks_,
                     tokens_are_quantized_ ? cpu::TokenRows::as_before : cpu::TokenRows::quantize);
    tokens_are_quantized_ = true;
}

void ExpertScheduler::tell_policy(int top_k) {
    const auto step = static_cast<std::size_t>(top_k);
    std::int64_t token = first_step_;
    for (std::size_t i = 0; i < experts_.size(); i += step, ++token) {
        take_token(experts_.subspan(i, step), factors_.subspan(i, step));
        if (token_experts_.empty()) continue;
        tier_->cache().on_request(
            {.layer = ordinal_, .step = token, .experts = token_experts_, .weights = token_factors_});
    }
}

// What one token calls and nobody else computes, with factors where they are given.
void ExpertScheduler::take_token(std::span<const std::int32_t> experts, std::span<const float> factors) {
    token_experts_.clear();
    token_factors_.clear();
    for (std::size_t i = 0; i < experts.size(); ++i) {
        if (experts[i] == kNotHere) continue;
        token_experts_.push_back(experts[i]);
        if (!factors.empty()) token_factors_.push_back(factors[i]);
    }
}

void ExpertScheduler::count_foreseen() {
    const int n_guessed = n_guesses(static_cast<std::int64_t>(experts_.size()) / tier_->layouts().top_k());
    for (int distance = 1; distance <= std::min(n_guessed, ordinal_); ++distance) {
        const std::size_t row = guess_row(distance, ordinal_);
        Foresight& foresight = tier_->foresight(distance);
        for (const Called& called : called_) {
            ++foresight.n_called;
            if (guessed_at_[row + static_cast<std::size_t>(called.expert)] == first_step_)
                ++foresight.n_foreseen;
        }
    }
}

std::size_t ExpertScheduler::guess_row(int distance, int ordinal) const noexcept {
    const ExpertLayouts& layouts = tier_->layouts();
    return static_cast<std::size_t>((std::int64_t{distance - 1} * layouts.n_layers() + ordinal) *
                                    layouts.n_experts());
}

// Counting sort of the calls by expert, and an entry for each expert that has any.
void ExpertScheduler::group_calls(int n_experts) {
    std::fill_n(ends_.begin(), n_experts, 0);
    for (const std::int32_t expert : experts_)
        if (expert != kNotHere) ++ends_[static_cast<std::size_t>(expert)];
    std::int32_t start = 0;
    for (int e = 0; e < n_experts; ++e) start += std::exchange(ends_[static_cast<std::size_t>(e)], start);
    for (std::size_t call = 0; call < experts_.size(); ++call)
        if (const std::int32_t expert = experts_[call]; expert != kNotHere)
            calls_[static_cast<std::size_t>(ends_[static_cast<std::size_t>(expert)]++)] =
                static_cast<std::int32_t>(call);

    called_.clear();
    std::int32_t first = 0;
    for (int e = 0; e < n_experts; ++e) {
        const std::int32_t last = ends_[static_cast<std::size_t>(e)];
        if (last > first) {
            of_expert_[static_cast<std::size_t>(e)] = static_cast<std::int32_t>(called_.size());
            called_.push_back({e, std::span(calls_).subspan(static_cast<std::size_t>(first),
                                                            static_cast<std::size_t>(last - first))});
        }
        first = last;
    }
}

}  // namespace greenroom::runtime
