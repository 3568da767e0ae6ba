#include "runtime/idle_filler.h"
#include "cache/read_faults.h"
#include "runtime/engine.h"
#include "runtime/session.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace greenroom::runtime {
namespace {

std::unique_ptr<Engine> load(cache::ReadFaults* faults = nullptr) {
    LoadOptions options;
    options.reader.faults = faults;
    return Engine::load(test::test_data("oracle/mini/deepseek2/model-bf16.gguf").string(), {2, {}, options});
}

// What is there, without getting in the filler's way.
std::int64_t n_resident(const Engine& engine) {
    const std::scoped_lock turn(engine.evaluation_mutex());
    return engine.experts()->cache().n_resident();
}

// False when it has not come to that within a time that no machine should need.
bool waits_for(const auto& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

TEST(IdleFiller, FillsMemoryWithoutAnyoneEvaluating) {
    const auto engine = load();
    EXPECT_EQ(n_resident(*engine), 0);
    const IdleFiller filler(*engine);
    EXPECT_TRUE(waits_for([&] { return n_resident(*engine) == engine->experts()->layouts().n_all(); }));
    EXPECT_EQ(engine->experts()->cache().total().n_filled, engine->experts()->layouts().n_all());
}

TEST(IdleFiller, ChangesNoResultOfWhoeverEvaluatesMeanwhile) {
    const std::vector<text::TokenId> tokens{5, 17, 40, 8, 23, 61, 9, 12};
    std::vector<std::vector<float>> logits;
    for (const bool fills : {false, true}) {
        cache::ReadFaults slow("delay_ms=1@1+");
        const auto engine = load(&slow);
        std::optional<IdleFiller> filler;
        if (fills) filler.emplace(*engine);
        Session session(*engine, {.context_tokens = 16, .batch_tokens = 2});
        std::vector<float>& all = logits.emplace_back();
        session.evaluate_each(tokens, [&all](std::int64_t, std::span<const float> row) {
            all.insert(all.end(), row.begin(), row.end());
        });
    }
    EXPECT_EQ(logits[0], logits[1]);
}

TEST(IdleFiller, LeavesAtOnceInTheMiddleOfReads) {
    cache::ReadFaults slow("delay_ms=5@1+");
    const auto engine = load(&slow);
    {
        const IdleFiller filler(*engine);
        EXPECT_TRUE(waits_for([&] { return n_resident(*engine) > 0; }));
    }
    EXPECT_LT(n_resident(*engine), engine->experts()->layouts().n_all());
}

TEST(IdleFiller, ReadsThatFailAreLeftToWhoeverCalls) {
    cache::ReadFaults every_fifth("eio@*5");
    const auto engine = load(&every_fifth);
    const IdleFiller filler(*engine);
    EXPECT_TRUE(waits_for([&] {
        const std::scoped_lock turn(engine->evaluation_mutex());
        const cache::CacheCounters total = engine->experts()->cache().total();
        return total.n_failed > 0 && total.n_failed + engine->experts()->cache().n_resident() ==
                                         engine->experts()->layouts().n_all();
    }));
}

}  // namespace
}  // namespace greenroom::runtime
