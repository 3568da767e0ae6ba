#include "cache/reuse_model.h"

#include "quant/base/error.h"

#include <algorithm>
#include <cmath>

namespace greenroom::cache {
namespace {

// Which matrix of a layer.
constexpr int kOwn = 0;
constexpr int kBelow = 1;

constexpr float kContextDecay = 0.7F;
constexpr float kContextShare = 0.6F;  // of an expert that was just called; one of the layer below has 1
constexpr float kStep = 0.15F;         // of the normalised gradient, at most
constexpr float kHalfStepUse = 10.0F;  // the step of a row is halved once it was used so much
constexpr float kMostUse = 1000.0F;    // so that a long life does not end the learning
constexpr float kMostCompany = 1.0F;   // y is within 0 and 1

// Requests that are less than a horizon apart have much of their future in common, so each of them says less
// the farther the horizon is: the prior of the regression weighs more, and the gradient's steps are smaller.
constexpr double kPriorStrength = 30.0;   // per request of the horizon
constexpr double kFullStepHorizon = 5.0;  // from there on, the step falls with 1 / horizon

// The regression starts as the decayed frequency that does well on any text.
constexpr std::array<double, 6> kPrior = {0, 0, 0, 1, 0, 0};
constexpr std::int64_t kPriorHabit = 3;
// Every fourth token of a layer is evidence enough; what is older than some 8000 tokens fades.
constexpr std::int64_t kEvidenceEvery = 4;
constexpr double kEvidenceKept = 0.9995;

// Rows are of a multiple of so many values, so that loops over them become SIMD without a rest.
constexpr std::size_t kLanes = 16;

// y += a · x
void add_scaled(std::span<float> y, float a, std::span<const float> x) noexcept {
    float* const out = y.data();
    const float* const in = x.data();
    const std::size_t n = y.size();
    for (std::size_t i = 0; i < n; ++i) out[i] += a * in[i];
}

// y *= a; what becomes tiny becomes 0, since denormal numbers are slow.
void scale(std::span<float> y, float a) noexcept {
    constexpr float kTiny = 1e-20F;
    float* const out = y.data();
    const std::size_t n = y.size();
    for (std::size_t i = 0; i < n; ++i) {
        const float scaled = out[i] * a;
        out[i] = std::fabs(scaled) < kTiny ? 0.0F : scaled;
    }
}

// Both of a multiple of kLanes.
float dot(std::span<const float> x, std::span<const float> y) noexcept {
    std::array<float, kLanes> sums{};
    const float* const a = x.data();
    const float* const b = y.data();
    const std::size_t n = x.size();
    for (std::size_t i = 0; i < n; i += kLanes)
        for (std::size_t j = 0; j < kLanes; ++j) sums[j] += a[i + j] * b[i + j];
    float sum = 0;
    for (const float s : sums) sum += s;
    return sum;
}

}  // namespace

ReuseModel::ReuseModel(int n_layers, int n_experts, int top_k)
    : n_layers_(n_layers),
      n_experts_(n_experts),
      top_k_(top_k),
      stride_((n_experts + std::int64_t{kLanes} - 1) / std::int64_t{kLanes} * std::int64_t{kLanes}) {
    GR_CHECK(n_layers > 0 && n_experts > 0 && top_k > 0);
    const auto layers = static_cast<std::size_t>(n_layers);
    const auto experts = static_cast<std::size_t>(n_experts);
    const auto stride = static_cast<std::size_t>(stride_);
    calls_.resize(layers * kCalls * static_cast<std::size_t>(top_k));
    moments_.resize(layers * kCalls);
    time_of_step_.resize(layers * kCalls, -1);
    clocks_.resize(layers);
    company_at_.resize(layers * kHistory * stride);
    averages_.resize(layers * kHabits * stride);
    past_averages_.resize(layers * kHabits * stride);
    past_shares_.resize(layers * stride);
    past_errors_.resize(layers * kContext * stride);
    context_.resize(layers * stride);
    past_context_.resize(layers * stride);
    company_.resize(layers * 2 * experts * stride);
    row_use_.resize(layers * 2 * experts);
    target_.resize(stride);
    scratch_.resize(stride);
    company_now_.resize(stride);
    solve_parts();
}

std::int64_t ReuseModel::bytes(int n_layers, int n_experts, int top_k) noexcept {
    const std::int64_t per_expert = kHistory + 2 * kHabits + kContext + 3 + 2 * n_experts + 2;
    const std::int64_t per_call = std::int64_t{top_k} * 4 + std::int64_t{sizeof(Moment)} + 8;
    return n_layers * (n_experts * per_expert * std::int64_t{sizeof(float)} + kCalls * per_call);
}

ReuseModel::Row ReuseModel::row_of(std::vector<float>& rows, std::int64_t i) const {
    return std::span(rows).subspan(static_cast<std::size_t>(i * stride_), static_cast<std::size_t>(stride_));
}

ReuseModel::Row ReuseModel::company_row(int layer, int matrix, std::int32_t expert) {
    return row_of(company_, (std::int64_t{layer} * 2 + matrix) * n_experts_ + expert);
}

ReuseModel::Row ReuseModel::company_at(int layer, std::int64_t time) {
    return row_of(company_at_, std::int64_t{layer} * kHistory + time % kHistory);
}

bool ReuseModel::remembers(int layer, std::int64_t time) const {
    const std::int64_t n = clocks_[static_cast<std::size_t>(layer)].n_requests;
    return time >= 0 && time < n && time >= n - kCalls;
}

// What a layer was asked for; nothing if it is not remembered.
std::span<const std::int32_t> ReuseModel::calls_at(int layer, std::int64_t time) const {
    if (!remembers(layer, time)) return {};
    const std::int64_t at = std::int64_t{layer} * kCalls + time % kCalls;
    return std::span(calls_).subspan(
        static_cast<std::size_t>(at * top_k_),
        static_cast<std::size_t>(moments_[static_cast<std::size_t>(at)].n_experts));
}

// What the layer below was asked for by the token that this layer saw at `time`, which it remembers.
std::span<const std::int32_t> ReuseModel::calls_below(int layer, std::int64_t time) const {
    if (layer == 0) return {};
    const std::int64_t at = std::int64_t{layer} * kCalls + time % kCalls;
    return calls_at(layer - 1, moments_[static_cast<std::size_t>(at)].time_below);
}

void ReuseModel::remember(const Request& request, std::int64_t time) {
    const int layer = request.layer;
    const std::int64_t first = std::int64_t{layer} * kCalls;
    // Modulo of the unsigned number: a step below 0 does no harm.
    const auto slot = static_cast<std::int64_t>(static_cast<std::uint64_t>(request.step) % kCalls);
    Moment& moment = moments_[static_cast<std::size_t>(first + time % kCalls)];
    moment = {.step = request.step, .time_below = -1, .n_experts = static_cast<int>(request.experts.size())};
    time_of_step_[static_cast<std::size_t>(first + slot)] = time;
    std::copy(request.experts.begin(), request.experts.end(),
              calls_.begin() + static_cast<std::ptrdiff_t>((first + time % kCalls) * top_k_));
    if (layer == 0) return;
    const std::int64_t below = time_of_step_[static_cast<std::size_t>(first - kCalls + slot)];
    if (remembers(layer - 1, below) &&
        moments_[static_cast<std::size_t>(first - kCalls + below % kCalls)].step == request.step)
        moment.time_below = below;
}

void ReuseModel::add_calls(std::vector<float>& averages, int layer, std::span<const std::int32_t> experts) {
    for (int i = 0; i < kHabits; ++i) {
        const float decay = kDecays[static_cast<std::size_t>(i)];
        const Row row = row_of(averages, std::int64_t{layer} * kHabits + i);
        scale(row, decay);
        for (const std::int32_t e : experts) row[static_cast<std::size_t>(e)] += 1 - decay;
    }
}

void ReuseModel::sum_habits(std::vector<float>& averages, int layer, Row out) {
    std::fill(out.begin(), out.end(), 0.0F);
    for (int i = 0; i < kHabits; ++i)
        add_scaled(out, weights_[static_cast<std::size_t>(i)],
                   row_of(averages, std::int64_t{layer} * kHabits + i));
}

std::span<const float> ReuseModel::decayed_frequencies(int layer) const {
    return std::span(averages_).subspan(
        static_cast<std::size_t>((std::int64_t{layer} * kHabits + kPriorHabit) * stride_),
        static_cast<std::size_t>(n_experts_));
}

void ReuseModel::observe(const Request& request, double horizon, std::span<double> estimates) {
    const int layer = request.layer;
    GR_CHECK(layer >= 0 && layer < n_layers_ && std::ssize(request.experts) <= top_k_ &&
             std::ssize(estimates) == n_experts_);
    LayerClock& clock = clocks_[static_cast<std::size_t>(layer)];
    const std::int64_t time = clock.n_requests++;
    remember(request, time);
    add_calls(averages_, layer, request.experts);

    horizon_ = std::clamp(horizon, 1.0, double{kMostDelay});
    const auto delay = std::clamp(std::lround(2 * horizon_), 4L, long{kMostDelay});
    // Two at most: a horizon that shrinks makes several known at once, which can wait.
    for (int i = 0; i < 2 && clock.n_learned + delay <= time; ++i)
        learn(layer, clock.n_learned++, static_cast<int>(delay));

    const Row company = company_at(layer, time);
    predict_company(context_, layer, time, company);
    sum_habits(averages_, layer, scratch_);
    add_scaled(scratch_, weights_[kHabits], company);
    std::copy_n(scratch_.begin(), n_experts_, estimates.begin());
}

// The context is kept as a sum that decays, with each row as it was when its expert was called: no need to
// add up the rows of all recent calls again.
void ReuseModel::predict_company(std::vector<float>& contexts, int layer, std::int64_t time, Row out) {
    const Row context = row_of(contexts, layer);
    scale(context, kContextDecay);
    for (const std::int32_t j : calls_at(layer, time))
        add_scaled(context, kContextShare, company_row(layer, kOwn, j));
    std::copy(context.begin(), context.end(), out.begin());
    for (const std::int32_t j : calls_below(layer, time))
        add_scaled(out, 1.0F, company_row(layer, kBelow, j));
    for (float& value : out) value = std::min(std::max(value, -kMostCompany), kMostCompany);
}

void ReuseModel::learn(int layer, std::int64_t time, int delay) {
    const std::span<const std::int32_t> calls = calls_at(layer, time);
    add_calls(past_averages_, layer, calls);
    const Row shares = row_of(past_shares_, layer);
    scale(shares, kContextDecay);
    for (const std::int32_t j : calls) shares[static_cast<std::size_t>(j)] += kContextShare;

    const float discount = 1 - 1 / static_cast<float>(horizon_);
    std::fill(target_.begin(), target_.end(), 0.0F);
    float y = 1;
    for (int d = 1; d <= delay; ++d, y *= discount) {
        for (const std::int32_t e : calls_at(layer, time + d)) {
            float& target = target_[static_cast<std::size_t>(e)];
            if (target == 0) target = y;
        }
    }
    if ((time + layer) % kEvidenceEvery == 0) learn_parts(layer, time);
    learn_company(layer, time);
}

// The gradient's share for row j is Σ over the requests behind each call of j of 0.6 · 0.7^age · error. So
// each call of j teaches its row once, when the errors of kContext requests are known: far fewer rows to
// write than if each error taught all of its context. The error is that of the rows as they are, not as they
// were when the request came: feedback that late would make them swing.
void ReuseModel::learn_company(int layer, std::int64_t time) {
    const std::span<const std::int32_t> below = calls_below(layer, time);
    const Row shares = row_of(past_shares_, layer);
    const float norm = dot(shares, shares) + static_cast<float>(below.size());
    const auto error_at = [&](std::int64_t at) {
        return row_of(past_errors_, std::int64_t{layer} * kContext + at % kContext);
    };
    const Row error = error_at(time);
    sum_habits(past_averages_, layer, scratch_);
    predict_company(past_context_, layer, time, company_now_);
    add_scaled(scratch_, 1.0F, company_now_);
    const float scaled = norm > 0 ? 1 / norm : 0.0F;
    for (std::size_t i = 0; i < error.size(); ++i) error[i] = scaled * (target_[i] - scratch_[i]);
    for (const std::int32_t j : below) learn_row(layer, kBelow, j, 1.0F, error);

    const std::int64_t first = time - kContext + 1;
    if (first < 0) return;
    std::fill(scratch_.begin(), scratch_.end(), 0.0F);
    float share = kContextShare;
    for (int age = 0; age < kContext; ++age, share *= kContextDecay)
        add_scaled(scratch_, share, error_at(first + age));
    for (const std::int32_t j : calls_at(layer, first))
        learn_row(layer, kOwn, j, shares[static_cast<std::size_t>(j)], scratch_);
}

void ReuseModel::learn_row(int layer, int matrix, std::int32_t expert, float share, Row gradient) {
    float& use = row_use_[static_cast<std::size_t>((std::int64_t{layer} * 2 + matrix) * n_experts_ + expert)];
    use = std::min(use + share * share, kMostUse);
    const auto step = kStep * static_cast<float>(std::min(1.0, kFullStepHorizon / horizon_));
    add_scaled(company_row(layer, matrix, expert), step * kHalfStepUse / (kHalfStepUse + use), gradient);
}

void ReuseModel::learn_parts(int layer, std::int64_t time) {
    std::array<std::span<const float>, kParts> parts;
    for (int i = 0; i < kHabits; ++i)
        parts[static_cast<std::size_t>(i)] = row_of(past_averages_, std::int64_t{layer} * kHabits + i);
    parts[kHabits] = company_at(layer, time);
    for (std::size_t i = 0; i < kParts; ++i) {
        for (std::size_t j = 0; j <= i; ++j) gram_[i][j] += static_cast<double>(dot(parts[i], parts[j]));
        moment_[i] += static_cast<double>(dot(parts[i], target_));
    }
    if (++n_samples_ % n_layers_ == 0) solve_parts();
}

// (gram + strength · I) weights = moment + strength · prior, by Cholesky's L Lᵀ: the matrix is
// symmetric and, with the prior, positive definite.
void ReuseModel::solve_parts() {
    std::array<std::array<double, kParts>, kParts> l{};
    std::array<double, kParts> x{};
    const double strength = kPriorStrength * horizon_;
    for (std::size_t i = 0; i < kParts; ++i) {
        for (std::size_t j = 0; j <= i; ++j) {
            double sum = gram_[i][j] + (i == j ? strength : 0.0);
            for (std::size_t k = 0; k < j; ++k) sum -= l[i][k] * l[j][k];
            l[i][j] = i == j ? std::sqrt(sum) : sum / l[j][j];
        }
        double sum = moment_[i] + strength * kPrior[i];
        for (std::size_t k = 0; k < i; ++k) sum -= l[i][k] * x[k];
        x[i] = sum / l[i][i];
    }
    for (std::size_t i = kParts; i-- > 0;) {
        for (std::size_t k = i + 1; k < kParts; ++k) x[i] -= l[k][i] * x[k];
        x[i] /= l[i][i];
        weights_[i] = static_cast<float>(x[i]);
    }
    for (auto& row : gram_)
        for (double& value : row) value *= kEvidenceKept;
    for (double& value : moment_) value *= kEvidenceKept;
}

}  // namespace greenroom::cache
