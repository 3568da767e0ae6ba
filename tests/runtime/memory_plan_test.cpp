// Memory plans: what they promise is what is reserved, and what does not fit is refused with a number that
// does.

#include "runtime/memory_plan.h"

#include "runtime/engine.h"
#include "runtime/session.h"
#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <string>

namespace greenroom::runtime {
namespace {

std::unique_ptr<Engine> mini() {
    return Engine::load(test::test_data("oracle/mini/deepseek2/model-bf16.gguf").string(), {1, {}});
}

MemoryPlan plan_of(const Engine& engine, std::int64_t context, std::int64_t batch, int n_threads) {
    return plan_memory(engine.spec(), kv_layout(engine.spec(), {}, WindowRows::ring, context, batch), 0,
                       batch, n_threads, Activations::int16);
}

TEST(MemoryPlan, IsWhatTheSessionReserves) {
    const auto engine = mini();
    const MemoryPlan plan = plan_of(*engine, 100, 16, 1);
    const Session session(*engine, {100, 16});
    EXPECT_EQ(session.kv_cache_bytes(), plan.kv_cache_bytes);
    EXPECT_EQ(session.checkpoint_bytes(), 0);
    EXPECT_EQ(session.working_bytes(), plan.working_bytes);
}

TEST(MemoryPlan, LargerBatchesAndMoreThreadsNeedMoreToWorkIn) {
    const auto engine = mini();
    EXPECT_LT(plan_of(*engine, 100, 16, 1).working_bytes, plan_of(*engine, 100, 32, 1).working_bytes);
    EXPECT_LT(plan_of(*engine, 100, 16, 1).working_bytes, plan_of(*engine, 100, 16, 2).working_bytes);
}

TEST(MemoryPlan, TooLittleMemoryNamesTheContextThatFits) {
    const auto engine = mini();
    const KvLayout layout = kv_layout(engine->spec(), {}, WindowRows::ring, 1000, 16);
    const MemoryPlan plan = plan_memory(engine->spec(), layout, 0, 16, 1, Activations::int16);
    check_plan(plan, layout, plan.total());
    const std::int64_t per_token = plan.kv_cache_bytes / 1000;
    test::expect_error(ErrorKind::out_of_memory, {"1000 tokens", "available", "-c 400"},
                       [&] { check_plan(plan, layout, plan.working_bytes + 400 * per_token); });
    test::expect_error(ErrorKind::out_of_memory, {"-b"}, [&] { check_plan(plan, layout, 1000); });
}

TEST(MemoryPlan, BesideAGpuASessionTakesRamForTheCpusLayers) {
    const auto engine = mini();
    const ModelSpec& spec = engine->spec();
    const SessionPlan plan = plan_session(spec, "", {.context_tokens = 100, .batch_tokens = 16}, 1);
    const int end = all_layers(spec.n_layers()).end;
    EXPECT_EQ(bytes_beside_gpu(spec, plan, {0, end}), plan.memory.beside_gpu_bytes);
    for (int first = 1; first + 1 < end; ++first)
        EXPECT_EQ(bytes_beside_gpu(spec, plan, {first + 1, end}) - bytes_beside_gpu(spec, plan, {first, end}),
                  plan.layout.layers[static_cast<std::size_t>(first)].bytes());
}

}  // namespace
}  // namespace greenroom::runtime
