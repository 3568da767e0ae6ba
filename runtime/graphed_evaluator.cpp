#include "runtime/graphed_evaluator.h"

#include "quant/base/error.h"
#include "quant/base/log.h"

#include <cstdlib>
#include <string_view>
#include <utility>

namespace greenroom::runtime {
namespace {

// With this a launch returns when the GPU is done with it: a graph never would, since it waits for us.
bool launches_block() {
    const char* value = std::getenv("CUDA_LAUNCH_BLOCKING");
    return value != nullptr && std::string_view(value) != "0";
}

}  // namespace

GraphedEvaluator::GraphedEvaluator(const ModelSpec& spec, LayerRange layers, const Weights& weights,
                                   const SessionPlan& plan, VramTier* tier, std::unique_ptr<gpu::Ops> ops,
                                   std::unique_ptr<HybridExperts> experts)
    : by_operations_(spec, layers, weights, plan, std::move(ops), std::move(experts)),
      graph_(spec, layers, weights, by_operations_.ops(), tier, by_operations_.experts(),
             plan.context_tokens),
      graphs_(launches_block() ? Graphs::off : Graphs::not_yet) {}

bool GraphedEvaluator::run(std::span<const std::int32_t> tokens, ConstMatrixView before,
                           ForwardObserver* observer, const std::atomic<bool>* cancelled) {
    const bool is_step = tokens.size() == 1 && observer == nullptr;
    last_was_graph_ = is_step && can_be_graphed();
    if (last_was_graph_) return graph_.run(tokens.front(), before, by_operations_.memory(), cancelled);
    if (!by_operations_.run(tokens, before, observer, cancelled)) return false;
    if (is_step && graphs_ == Graphs::not_yet) graphs_ = Graphs::on;
    return true;
}

bool GraphedEvaluator::can_be_graphed() {
    if (graphs_ != Graphs::on) return false;
    try {
        graph_.prepare(by_operations_.memory());
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::internal) throw;
        graphs_ = Graphs::off;
        log_warning("decoding without a CUDA graph, which is slower: {}", error.what());
    }
    return graphs_ == Graphs::on;
}

ConstMatrixView GraphedEvaluator::logits(std::int64_t first_row, std::int64_t n_rows) {
    return last_was_graph_ ? graph_.logits() : by_operations_.logits(first_row, n_rows);
}

}  // namespace greenroom::runtime
