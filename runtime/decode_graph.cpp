#include "runtime/decode_graph.h"

#include "quant/base/error.h"
#include "runtime/experts_concept.h"

#include <algorithm>
#include <bit>
#include <span>
#include <utility>

namespace greenroom::runtime {
namespace {

static_assert(Experts<GraphedExperts>);

constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));

// What launches are sized for when n positions are seen: blocks of positions that are not there end at once,
// and a captured graph lasts until the context has doubled.
std::int64_t position_bound(std::int64_t n, std::int64_t context_tokens) noexcept {
    constexpr std::int64_t kLeast = 256;
    const auto power = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(n)));
    return std::min(std::max(power, kLeast), context_tokens);
}

}  // namespace

DecodeGraph::DecodeGraph(const ModelSpec& spec, LayerRange layers, const Weights& weights, gpu::Ops& ops,
                         VramTier* tier, HybridExperts& experts, std::int64_t context_tokens)
    : ops_(ops),
      n_vocab_(spec.n_vocab),
      context_tokens_(context_tokens),
      experts_(spec, layers, ops, tier, experts),
      forward_(spec, layers, weights, ops, experts_, 1),
      logits_on_device_(ops.allocate(spec.n_vocab)),
      logits_(ops.allocate_host<float>(spec.n_vocab)) {}

std::int64_t DecodeGraph::device_bytes(const ModelSpec& spec) noexcept {
    return (working_floats(spec, 1) + spec.n_vocab) * kFloat;
}

void DecodeGraph::prepare(const SequenceMemory<gpu::Ops>& memory) {
    Captured& ready = captured_[static_cast<std::size_t>(memory.bank())];
    if (ready.graph && memory.n_tokens() < ready.max_positions && ready.n_guesses == experts_.n_guesses(1))
        return;
    ops_.wait();  // the one that it takes the place of may be under way
    ready = {};
    ready = capture(memory);
}

DecodeGraph::Captured DecodeGraph::capture(const SequenceMemory<gpu::Ops>& memory) {
    Captured captured;
    captured.max_positions = position_bound(memory.n_tokens() + 1, context_tokens_);
    captured.n_guesses = experts_.n_guesses(1);
    gpu::Capture capture(ops_.stream());
    forward_.pass(1, captured.max_positions - 1, memory, nullptr, nullptr);
    forward_.head({logits_on_device_.data(), 1, n_vocab_, n_vocab_}, 0);
    gpu::copy_to_host(ops_.stream(), logits_.data(), logits_on_device_.data(), n_vocab_ * kFloat);
    captured.graph = capture.finish();
    return captured;
}

bool DecodeGraph::run(std::int32_t token, ConstMatrixView before, SequenceMemory<gpu::Ops>& memory,
                      const std::atomic<bool>* cancelled) {
    const Captured& captured = captured_[static_cast<std::size_t>(memory.bank())];
    GR_CHECK(captured.graph && memory.n_tokens() < captured.max_positions);
    if (cancelled != nullptr && cancelled->load(std::memory_order_relaxed)) return false;
    const std::int64_t position = memory.n_tokens();
    forward_.begin({&token, 1}, before, memory);
    experts_.begin_step();
    captured.graph.launch(ops_.stream());
    if (!experts_.serve(position, captured.n_guesses, cancelled)) return false;
    memory.commit(1);
    return true;
}

ConstMatrixView DecodeGraph::logits() {
    ops_.wait();
    return {logits_.data(), 1, n_vocab_, n_vocab_};
}

}  // namespace greenroom::runtime
