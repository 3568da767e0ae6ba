// Experts in RAM slots with the file behind them: the output is the same bit for bit whatever the memory, the
// policy, what is read ahead and the threads; faults of the disk end a request and nothing else.

#include "tests/runtime/oracle_model.h"
#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

namespace greenroom::test {
namespace {

using runtime::Engine;
using runtime::LoadOptions;

struct Setting {
    std::int64_t max_expert_bytes = 0;  // 0: room for all; 1: the least
    const char* policy = "lru";
    cache::Scope scope = cache::Scope::layer;
    int prefetch_layers = 0;
    int n_threads = 1;
    std::int64_t batch_tokens = 16;
};

std::unique_ptr<Engine> load(const std::string& path, const Setting& setting, int n_sessions = 1) {
    LoadOptions options;
    options.max_expert_bytes = setting.max_expert_bytes;
    options.experts = {setting.policy, setting.scope, setting.prefetch_layers};
    options.n_sessions = n_sessions;
    return Engine::load(path, {setting.n_threads, {}, options});
}

// Of all experts, with some for the blocks that they share with others.
std::int64_t part_of_all(const Engine& engine, double fraction) {
    const auto& layouts = engine.experts()->layouts();
    return static_cast<std::int64_t>(
        fraction * static_cast<double>(cache::SlotPlan::most_bytes(
                       layouts.layer_slot_bytes(), layouts.plan_options(cache::Scope::layer, 0))));
}

struct Family {
    const char* folder;
    const char* file = "model-bf16.gguf";
};

std::ostream& operator<<(std::ostream& out, const Family& family) { return out << family.folder; }

class ExpertTiers : public testing::TestWithParam<Family> {
  protected:
    std::string path() const {
        return test_data(std::string("oracle/mini/") + GetParam().folder + "/" + GetParam().file).string();
    }
    std::vector<std::int32_t> tokens() const {
        const OracleModel oracle{test_data(std::string("oracle/mini/") + GetParam().folder)};
        std::vector<std::int32_t> tokens = oracle.ids("tokens_p1").values;
        tokens.resize(std::min<std::size_t>(tokens.size(), 24));
        return tokens;
    }

    // A prompt in batches and then token by token, twice: the second text finds what the first has left.
    std::vector<float> logits(const Engine& engine, const Setting& setting) const {
        std::vector<float> all;
        for (int text = 0; text < 2; ++text) {
            std::vector<std::int32_t> input = tokens();
            if (text == 1) std::reverse(input.begin(), input.end());
            runtime::SessionOptions options{.context_tokens = 24, .batch_tokens = setting.batch_tokens};
            runtime::Session session(engine, options);
            const auto keep = [&all](std::int64_t, std::span<const float> row) {
                all.insert(all.end(), row.begin(), row.end());
            };
            const std::size_t n_prompt = input.size() / 2;
            session.evaluate_each(std::span(input).first(n_prompt), keep);
            for (std::size_t i = n_prompt; i < input.size(); ++i)
                session.evaluate_each(std::span(input).subspan(i, 1), keep);
        }
        return all;
    }
};

TEST_P(ExpertTiers, OutputDoesNotDependOnMemoryPolicyPrefetchBatchOrThreads) {
    const auto everything = load(path(), {});
    const std::vector<float> expected = logits(*everything, {});
    const std::int64_t half = part_of_all(*everything, 0.5);
    const std::int64_t most = part_of_all(*everything, 0.8);
    const Setting settings[] = {
        {1, "lru", cache::Scope::layer, 0, 1, 16},   {1, "decay", cache::Scope::global, 3, 2, 1},
        {half, "lru", cache::Scope::layer, 1, 2, 5}, {half, "random", cache::Scope::global, 2, 1, 16},
        {most, "lfu", cache::Scope::layer, 3, 1, 3}, {most, "decay", cache::Scope::layer, 2, 2, 24},
    };
    for (const Setting& setting : settings) {
        const auto engine = load(path(), setting);
        EXPECT_EQ(logits(*engine, setting), expected)
            << setting.max_expert_bytes << " bytes, " << setting.policy << ", "
            << cache::scope_name(setting.scope) << ", " << setting.prefetch_layers << " layers ahead";
        const cache::ExpertCache& cache = engine->experts()->cache();
        EXPECT_GT(cache.total().n_misses + cache.total().n_late, 0);
        EXPECT_GT(cache.total().n_bytes_read, 0);
    }
}

constexpr Family kFamilies[] = {
    {"deepseek2"},
    {"deepseek2-lite"},
    {"deepseek32"},
    {"glm4moe"},
    {"gpt-oss", "model-mxfp4.gguf"},
    {"granitemoe"},
    {"kimi-k2"},
    {"llama4"},
    {"llama4-128e"},
    {"mixtral", "model-f16.gguf"},
    {"olmoe", "model-f32.gguf"},
    {"qwen2moe"},
    {"qwen35moe"},
    {"qwen3moe"},
    {"qwen3next"},
};

INSTANTIATE_TEST_SUITE_P(EachFamily, ExpertTiers, testing::ValuesIn(kFamilies), [](const auto& family) {
    std::string name = family.param.folder;
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
});

}  // namespace
}  // namespace greenroom::test
