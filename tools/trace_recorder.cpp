#include "tools/trace_recorder.h"

#include "quant/base/error.h"
#include "quant/half.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>

namespace greenroom::tools {
namespace {

constexpr std::int64_t kTokenBytes = sizeof(std::int32_t) + sizeof(std::uint8_t);  // sequence, phase

std::int64_t values_of(const TraceShape& shape, std::int64_t n_tokens, int n_per_layer) {
    return n_tokens * static_cast<std::int64_t>(shape.layers.size()) * n_per_layer;
}

// The probability that the router gives to each expert, as float16: its score before a selection bias. Where
// the softmax is over the chosen ones, that over all.
void write_scores(std::uint16_t* out, std::span<const float> logits, RouterRule::Scoring scoring) {
    const float highest = *std::max_element(logits.begin(), logits.end());
    const bool is_softmax = scoring != RouterRule::Scoring::sigmoid;
    double sum = 0;
    if (is_softmax)
        for (const float logit : logits) sum += std::exp(double{logit} - highest);
    for (std::size_t e = 0; e < logits.size(); ++e) {
        const double score =
            is_softmax ? std::exp(double{logits[e]} - highest) / sum : 1 / (1 + std::exp(-double{logits[e]}));
        out[e] = quant::f32_to_f16(static_cast<float>(score));
    }
}

}  // namespace

TraceShape trace_shape(const runtime::ModelSpec& spec, const std::string& path) {
    TraceShape shape;
    for (int i = 0; i < spec.n_layers(); ++i) {
        const auto* moe = std::get_if<runtime::MoeFfnSpec>(&spec.layers[static_cast<std::size_t>(i)].ffn);
        if (moe == nullptr) continue;
        const RouterRule& rule = moe->router;
        if (!shape.layers.empty() && (rule.top_k != shape.top_k || rule.n_experts != shape.n_experts))
            fail(ErrorKind::unsupported,
                 "{}: layer {} uses {} of {} experts, layer {} {} of {}. A trace has the same in all layers",
                 path, i, rule.top_k, rule.n_experts, shape.layers.back(), shape.top_k, shape.n_experts);
        shape.layers.push_back(i);
        shape.top_k = rule.top_k;
        shape.n_experts = rule.n_experts;
    }
    if (shape.layers.empty())
        fail(ErrorKind::bad_input, "{}: found no layer with experts, so there is nothing to trace", path);
    if (shape.n_experts > cache::Trace::kAbsent)
        fail(ErrorKind::unsupported, "{}: found {} experts in a layer; a trace holds up to {}", path,
             shape.n_experts, cache::Trace::kAbsent);
    return shape;
}

std::int64_t trace_file_bytes(const TraceShape& shape, std::int64_t n_tokens, TraceScores scores) {
    const int n_chosen = shape.top_k * (2 + static_cast<int>(cache::Trace::kMostDistance));
    const int n_values = n_chosen + (scores == TraceScores::recorded ? shape.n_experts : 0);
    return n_tokens * kTokenBytes +
           values_of(shape, n_tokens, n_values) * static_cast<std::int64_t>(sizeof(std::uint16_t));
}

std::int64_t trace_memory_bytes(const TraceShape& shape, std::int64_t n_tokens, TraceScores scores) {
    // Weights are in float32, too.
    return trace_file_bytes(shape, n_tokens, scores) +
           values_of(shape, n_tokens, shape.top_k) * static_cast<std::int64_t>(sizeof(float));
}

TraceRecorder::TraceRecorder(TraceShape shape, std::int64_t max_tokens, TraceScores scores)
    : shape_(std::move(shape)), max_tokens_(max_tokens) {
    GR_CHECK(!shape_.layers.empty() && max_tokens > 0);
    trace_layers_.assign(static_cast<std::size_t>(shape_.layers.back()) + 1, -1);
    for (std::size_t i = 0; i < shape_.layers.size(); ++i)
        trace_layers_[static_cast<std::size_t>(shape_.layers[i])] = static_cast<int>(i);
    trace_.n_layers = static_cast<int>(shape_.layers.size());
    trace_.top_k = shape_.top_k;
    trace_.n_experts = shape_.n_experts;

    const auto take = [](auto& values, std::int64_t n_values) {
        values.resize(static_cast<std::size_t>(n_values));
        values.clear();  // the memory stays
    };
    const std::int64_t n_calls = values_of(shape_, max_tokens, shape_.top_k);
    take(trace_.experts, n_calls);
    take(trace_.weights, n_calls);
    for (auto& predicted : trace_.predicted) take(predicted, n_calls);
    take(trace_.sequence, max_tokens);
    take(trace_.phase, max_tokens);
    if (scores == TraceScores::recorded) take(trace_.scores, values_of(shape_, max_tokens, shape_.n_experts));
}

void TraceRecorder::begin_text() {
    ++sequence_;
    first_token_ = trace_.n_tokens;
    phase_ = TracePhase::prompt;
}

void TraceRecorder::on_hidden(int layer, std::int64_t first_position, ConstMatrixView hidden) {
    if (layer >= 0) return;
    const std::int64_t n_tokens = trace_.n_tokens + hidden.n_rows;
    GR_CHECK(sequence_ >= 0 && first_token_ + first_position == trace_.n_tokens && n_tokens <= max_tokens_);
    const auto n_calls = static_cast<std::size_t>(values_of(shape_, n_tokens, shape_.top_k));
    trace_.experts.resize(n_calls, cache::Trace::kAbsent);
    trace_.weights.resize(n_calls, 0.0F);
    for (auto& predicted : trace_.predicted) predicted.resize(n_calls, cache::Trace::kAbsent);
    trace_.sequence.resize(static_cast<std::size_t>(n_tokens), sequence_);
    trace_.phase.resize(static_cast<std::size_t>(n_tokens), static_cast<std::uint8_t>(phase_));
    if (trace_.scores.capacity() > 0)
        trace_.scores.resize(static_cast<std::size_t>(values_of(shape_, n_tokens, shape_.n_experts)), 0);
    trace_.n_tokens = n_tokens;
}

std::size_t TraceRecorder::index_of(int layer, std::int64_t position, int n_values) const {
    const int trace_layer = trace_layers_.at(static_cast<std::size_t>(layer));
    const std::int64_t token = first_token_ + position;
    GR_CHECK(trace_layer >= 0 && token < trace_.n_tokens);
    return static_cast<std::size_t>((token * trace_.n_layers + trace_layer) * n_values);
}

void TraceRecorder::on_router(const runtime::RouterChoice& choice) {
    const auto top_k = static_cast<std::size_t>(shape_.top_k);
    for (std::int64_t r = 0; r < choice.logits.n_rows; ++r) {
        const std::int64_t position = choice.first_position + r;
        const std::size_t from = static_cast<std::size_t>(r) * top_k;
        const std::size_t to = index_of(choice.layer, position, shape_.top_k);
        for (std::size_t k = 0; k < top_k; ++k) {
            trace_.experts[to + k] = static_cast<std::uint16_t>(choice.experts[from + k]);
            trace_.weights[to + k] = choice.weights[from + k];
        }
        if (!trace_.scores.empty())
            write_scores(trace_.scores.data() + index_of(choice.layer, position, shape_.n_experts),
                         choice.logits.row_span(r), choice.rule.scoring);
    }
}

void TraceRecorder::on_guess(const runtime::RouterGuess& guess) {
    std::vector<std::uint16_t>& predicted = trace_.predicted.at(static_cast<std::size_t>(guess.distance) - 1);
    const auto top_k = static_cast<std::size_t>(shape_.top_k);
    for (std::size_t from = 0; from < guess.experts.size(); from += top_k) {
        const auto position = guess.first_position + static_cast<std::int64_t>(from / top_k);
        const std::size_t to = index_of(guess.layer, position, shape_.top_k);
        for (std::size_t k = 0; k < top_k; ++k)
            predicted[to + k] = static_cast<std::uint16_t>(guess.experts[from + k]);
    }
}

}  // namespace greenroom::tools
