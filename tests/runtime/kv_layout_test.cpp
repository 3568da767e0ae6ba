// What a session remembers, in bytes, against the formula of each kind of attention.

#include "runtime/kv_layout.h"

#include "runtime/engine.h"
#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace greenroom::runtime {
namespace {

std::unique_ptr<Engine> mini(const std::string& folder, const std::string& file = "model-bf16.gguf") {
    return Engine::load(test::test_data("oracle/mini/" + folder + "/" + file).string(), {1, {}});
}

KvLayout layout_of(const Engine& engine, const KvTypes& types = {}, WindowRows rows = WindowRows::ring) {
    return kv_layout(engine.spec(), types, rows, 100, 16);
}

TEST(KvLayout, LatentAttentionKeepsLatentAndRotatedKey) {
    const auto engine = mini("deepseek2");
    constexpr std::int64_t kLayers = 3;
    constexpr std::int64_t kRow = 32 + 32;
    EXPECT_EQ(layout_of(*engine).bytes_per_token(), kLayers * kRow * 2);
    EXPECT_EQ(layout_of(*engine).bytes(), 100 * kLayers * kRow * 2);
    EXPECT_EQ(layout_of(*engine, {quant::Type::Q8_0, quant::Type::F32}).bytes_per_token(),
              kLayers * kRow / 32 * 34);
}

TEST(KvLayout, AnIndexerKeepsItsKeyBesides) {
    EXPECT_EQ(layout_of(*mini("deepseek32")).bytes_per_token(), 3 * (32 + 32 + 64) * 2);
}

TEST(KvLayout, GroupedQueriesKeepKeysAndValuesEachInItsType) {
    const auto engine = mini("qwen3moe");
    const auto& gqa = std::get<GqaSpec>(engine->spec().layers[0].attention).shape;
    const std::int64_t n = engine->spec().n_layers() * gqa.n_kv_heads * gqa.head_dim;
    ASSERT_EQ(gqa.head_dim, gqa.value_dim);
    EXPECT_EQ(layout_of(*engine).bytes_per_token(), n * 2 * 2);
    EXPECT_EQ(layout_of(*engine, {quant::Type::F32, quant::Type::BF16}).bytes_per_token(), n * (4 + 2));
    EXPECT_EQ(layout_of(*engine, {quant::Type::Q8_0, quant::Type::Q4_0}).bytes_per_token(),
              n / 32 * (34 + 18));
    EXPECT_EQ(layout_of(*engine).checkpoint_bytes(), 0) << "rows need no checkpoint";
}

TEST(KvLayout, AWindowIsARingOfTheWindowAndABatch) {
    const auto engine = mini("gpt-oss", "model-mxfp4.gguf");
    std::int64_t full_row = 0;
    std::int64_t ring_row = 0;
    std::int64_t window = 0;
    for (const LayerSpec& layer : engine->spec().layers) {
        const GqaShape& shape = std::get<GqaSpec>(layer.attention).shape;
        (shape.window > 0 ? ring_row : full_row) += 2 * (shape.key_cols() + shape.value_cols());
        window = std::max(window, shape.window);
    }
    ASSERT_GT(window, 0);
    const KvLayout layout = layout_of(*engine);
    EXPECT_EQ(layout.bytes_per_token(), full_row);
    EXPECT_EQ(layout.ring_bytes(), ring_row * (window + 16));
    EXPECT_EQ(layout.bytes(), 100 * full_row + ring_row * (window + 16));
    EXPECT_EQ(layout.checkpoint_bytes(), ring_row * window);
    EXPECT_EQ(layout_of(*engine, {}, WindowRows::full).bytes(), 100 * (full_row + ring_row));
    EXPECT_EQ(layout_of(*engine, {}, WindowRows::full).checkpoint_bytes(), 0);
}

TEST(KvLayout, ADeltaNetKeepsAStateWhateverTheContext) {
    const auto engine = mini("qwen35moe");
    constexpr std::int64_t kRecurrent = 3;
    constexpr std::int64_t kConv = 3 * (2 * 2 * 32 + 4 * 32);
    constexpr std::int64_t kState = 4 * 32 * 32;
    const KvLayout layout = layout_of(*engine);
    EXPECT_EQ(layout.state_bytes(), kRecurrent * (kConv + kState) * 4);
    EXPECT_EQ(layout.checkpoint_bytes(), layout.state_bytes());
    EXPECT_EQ(layout.bytes_per_token(), 2 * 2 * 64 * 2) << "of the one layer with attention";
    EXPECT_EQ(layout.bytes(), 100 * layout.bytes_per_token() + 2 * layout.state_bytes());
}

TEST(KvLayout, CheckpointsByDefaultFitIntoTheirBudget) {
    KvLayout layout;
    EXPECT_EQ(default_checkpoints(layout), 0);
    layout.layers.resize(1);
    layout.layers[0].state_values = 1000;
    EXPECT_EQ(default_checkpoints(layout), 8);
    layout.layers[0].state_values = std::int64_t{50} << 20;  // 200 MiB
    EXPECT_EQ(default_checkpoints(layout), 2);
    layout.layers[0].state_values = std::int64_t{1} << 30;
    EXPECT_EQ(default_checkpoints(layout), 0);
}

TEST(KvTypes, AreKnownByTheirNames) {
    EXPECT_EQ(parse_kv_type("q8_0"), quant::Type::Q8_0);
    EXPECT_EQ(kv_type_name(quant::Type::BF16), "bf16");
    test::expect_error(ErrorKind::bad_input, {"'q5_1'", "f32, f16, bf16, q8_0, q4_0"},
                       [] { parse_kv_type("q5_1"); });
}

TEST(KvTypes, BlocksThatDoNotFitAHeadAreRefused) {
    ModelSpec spec;
    GqaSpec gqa;
    gqa.shape = {4, 2, 40, 64, 1.0F};
    spec.layers.push_back({gqa, DenseFfnSpec{1}});
    check_kv_types(spec, {quant::Type::F16, quant::Type::Q8_0});
    test::expect_error(ErrorKind::unsupported, {"-ctk", "Q8_0", "40 values", "32", "f16"}, [&] {
        check_kv_types(spec, {quant::Type::Q8_0, quant::Type::F16});
    });
}

}  // namespace
}  // namespace greenroom::runtime
