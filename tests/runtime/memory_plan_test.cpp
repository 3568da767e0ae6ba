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

TEST(MemoryPlan, KvCacheIsLatentAndRotatedKeyPerTokenAndLayer) {
    const auto engine = mini();
    const MemoryPlan plan = plan_session(engine->spec(), 100, 16, 1);
    constexpr std::int64_t kLayers = 3;
    constexpr std::int64_t kRow = 32 + 32;
    EXPECT_EQ(plan.kv_cache_bytes, 100 * kLayers * kRow * 4);
    EXPECT_EQ(Session(*engine, {100, 16}).kv_cache_bytes(), plan.kv_cache_bytes);
}

TEST(MemoryPlan, LargerBatchesAndMoreThreadsNeedMoreToWorkIn) {
    const auto engine = mini();
    const auto working = [&](std::int64_t batch, int threads) {
        return plan_session(engine->spec(), 100, batch, threads).working_bytes;
    };
    EXPECT_LT(working(16, 1), working(32, 1));
    EXPECT_LT(working(16, 1), working(16, 2));
}

TEST(MemoryPlan, TooLittleMemoryNamesTheContextThatFits) {
    const auto engine = mini();
    const MemoryPlan plan = plan_session(engine->spec(), 1000, 16, 1);
    check_plan(plan, engine->spec(), 1000, plan.total());
    const std::int64_t per_token = plan.kv_cache_bytes / 1000;
    test::expect_error(ErrorKind::out_of_memory, {"1000 tokens", "available", "-c 400"},
                       [&] { check_plan(plan, engine->spec(), 1000, plan.working_bytes + 400 * per_token); });
    test::expect_error(ErrorKind::out_of_memory, {"-b"},
                       [&] { check_plan(plan, engine->spec(), 1000, 1000); });
}

TEST(MemoryPlan, TheMachineSaysWhatItHas) { EXPECT_GT(available_memory_bytes(), 1 << 20); }

}  // namespace
}  // namespace greenroom::runtime
