// Counting what a GGUF holds: real layouts, the old unmerged experts, files without tensors, and metadata
// that lie.

#include "runtime/model_inventory.h"

#include "quant/gguf_writer.h"
#include "tests/support/paths.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace greenroom::runtime {
namespace {

// A file in the making; all tensors show the same zeros.
class Draft {
  public:
    Draft() : zeros_(1 << 20) {}

    quant::GgufWriter& keys() { return writer_; }

    Draft& tensor(const std::string& name, const std::vector<std::int64_t>& shape,
                  quant::Type type = quant::Type::F32) {
        TensorView view{type, static_cast<int>(shape.size()), {1, 1, 1, 1}, zeros_.data()};
        for (std::size_t i = 0; i < shape.size(); ++i) view.shape[i] = shape[i];
        writer_.add_tensor(name, view);
        return *this;
    }

    ModelInventory inventory() const {
        const std::vector<std::byte> image = writer_.serialize();
        return take_inventory(quant::Gguf::parse(image.data(), image.size(), "draft"));
    }

  private:
    std::vector<std::byte> zeros_;
    quant::GgufWriter writer_;
};

TEST(ModelInventory, CountsAConvertedModel) {
    const auto path = test::test_data("oracle/mini/deepseek2/model-bf16.gguf");
    const quant::Gguf gguf = quant::Gguf::open(path.string());
    const ModelInventory model = take_inventory(gguf);
    EXPECT_EQ(model.architecture, "deepseek2");
    EXPECT_TRUE(model.known_architecture);
    EXPECT_EQ(model.n_layers, static_cast<std::int64_t>(*gguf.find_uint("deepseek2.block_count")));
    EXPECT_EQ(model.n_experts, static_cast<std::int64_t>(*gguf.find_uint("deepseek2.expert_count")));
    EXPECT_EQ(model.top_k, static_cast<std::int64_t>(*gguf.find_uint("deepseek2.expert_used_count")));
    EXPECT_EQ(
        model.n_moe_layers,
        model.n_layers - static_cast<std::int64_t>(*gguf.find_uint("deepseek2.leading_dense_block_count")));
    EXPECT_EQ(model.expert_bytes, model.n_moe_layers * model.n_experts * model.one_expert_bytes);

    std::int64_t bytes = 0;
    for (const quant::GgufTensor& tensor : gguf.tensors()) bytes += tensor.view.bytes();
    EXPECT_EQ(model.resident_bytes + model.expert_bytes, bytes);
    std::int64_t typed_bytes = 0;
    for (const TypeShare& share : model.types) typed_bytes += share.bytes;
    EXPECT_EQ(typed_bytes, bytes);
    EXPECT_GE(model.types.front().bytes, model.types.back().bytes);
}

TEST(ModelInventory, CountsTopKOfTheExpertsAndOneRowOfTheEmbedding) {
    Draft draft;
    draft.keys().add_string("general.architecture", "qwen3moe");
    draft.keys().add_u32("qwen3moe.block_count", 1);
    draft.keys().add_u32("qwen3moe.expert_count", 8);
    draft.keys().add_u32("qwen3moe.expert_used_count", 2);
    draft.tensor("token_embd.weight", {32, 100})
        .tensor("output.weight", {32, 100})
        .tensor("blk.0.ffn_gate_exps.weight", {32, 64, 8}, quant::Type::Q8_0)
        .tensor("blk.0.ffn_up_exps.weight", {32, 64, 8}, quant::Type::Q8_0)
        .tensor("blk.0.ffn_down_exps.weight", {64, 32, 8}, quant::Type::Q8_0)
        .tensor("blk.0.ffn_up_exps.bias", {64, 8})
        .tensor("blk.0.ffn_up_shexp.weight", {32, 64});
    const ModelInventory model = draft.inventory();
    constexpr std::int64_t kExpertValues = 3 * 32 * 64 + 64;
    constexpr std::int64_t kExpertBytes = 3 * 64 * 34 + 64 * 4;
    EXPECT_EQ(model.n_parameters, 2 * 3200 + 8 * kExpertValues + 2048);
    EXPECT_EQ(model.n_active_parameters, 32 + 3200 + 2 * kExpertValues + 2048);
    EXPECT_EQ(model.one_expert_bytes, kExpertBytes);
    EXPECT_EQ(model.expert_bytes, 8 * kExpertBytes);
    EXPECT_EQ(model.resident_bytes, (2 * 3200 + 2048) * 4);
    EXPECT_EQ(model.active_bytes, (32 + 3200 + 2048) * 4 + 2 * kExpertBytes);
    EXPECT_EQ(model.n_moe_layers, 1);
}

TEST(ModelInventory, EmbeddingThatIsTheOutputMatrixIsReadWhole) {
    EXPECT_EQ(Draft().tensor("token_embd.weight", {32, 100}).inventory().n_active_parameters, 3200);
}

TEST(ModelInventory, UnmergedExpertsCountLikeMergedOnes) {
    Draft draft;
    draft.keys().add_string("general.architecture", "llama");
    draft.keys().add_u32("llama.expert_count", 4);
    draft.keys().add_u32("llama.expert_used_count", 2);
    for (int layer = 0; layer < 2; ++layer)
        for (int expert = 0; expert < 4; ++expert)
            for (const char* matrix : {"ffn_gate", "ffn_up", "ffn_down"})
                draft.tensor(fmt::format("blk.{}.{}.{}.weight", layer, matrix, expert), {16, 16});
    draft.tensor("blk.1.ffn_gate.weight", {16, 16});  // a dense matrix
    const ModelInventory model = draft.inventory();
    EXPECT_EQ(model.n_moe_layers, 2);
    EXPECT_EQ(model.n_layers, 2);
    EXPECT_EQ(model.one_expert_bytes, 3 * 256 * 4);
    EXPECT_EQ(model.expert_bytes, 2 * 4 * 3 * 256 * 4);
    EXPECT_EQ(model.resident_bytes, 256 * 4);
    EXPECT_EQ(model.n_active_parameters, 2 * 2 * 3 * 256 + 256);
}

TEST(ModelInventory, FusedGateAndUpBelongToTheExperts) {
    const ModelInventory model = Draft().tensor("blk.3.ffn_gate_up_exps.weight", {16, 32, 4}).inventory();
    EXPECT_EQ(model.expert_bytes, 16 * 32 * 4 * 4);
    EXPECT_EQ(model.one_expert_bytes, 16 * 32 * 4);
    EXPECT_EQ(model.n_layers, 4);
    EXPECT_EQ(model.n_experts, 4);
}

TEST(ModelInventory, PredictionLayersAreNotReadForAToken) {
    Draft draft;
    draft.keys().add_string("general.architecture", "deepseek2");
    draft.keys().add_u32("deepseek2.block_count", 3);
    draft.keys().add_u32("deepseek2.nextn_predict_layers", 1);
    draft.tensor("blk.1.attn_norm.weight", {16}).tensor("blk.2.attn_norm.weight", {16});
    const ModelInventory model = draft.inventory();
    EXPECT_EQ(model.n_parameters, 32);
    EXPECT_EQ(model.n_active_parameters, 16);
}

TEST(ModelInventory, FileTypeIsWhatTheFileSaysOrTheTypeWithTheMostBytes) {
    const auto file_type = [](std::uint32_t number) {
        Draft draft;
        draft.keys().add_u32("general.file_type", number);
        return draft.tensor("blk.0.ffn_gate.weight", {256, 4}, quant::Type::Q4_K)
            .tensor("output.weight", {256, 2}, quant::Type::F32)
            .inventory()
            .file_type;
    };
    EXPECT_EQ(file_type(0), "F32");
    EXPECT_EQ(file_type(1), "F16");
    EXPECT_EQ(file_type(7), "Q8_0");
    EXPECT_EQ(file_type(10), "Q2_K");
    EXPECT_EQ(file_type(15), "Q4_K_M");
    EXPECT_EQ(file_type(18), "Q6_K");
    EXPECT_EQ(file_type(30), "IQ4_XS");
    EXPECT_EQ(file_type(32), "BF16");
    EXPECT_EQ(file_type(38), "MXFP4");
    EXPECT_EQ(file_type(41), "Q2_0");
    for (const std::uint32_t unknown : {4U, 33U, 42U, 1024U, 0xFFFFFFFFU})
        EXPECT_EQ(file_type(unknown), "F32");
    EXPECT_EQ(Draft().tensor("output.weight", {256, 2}, quant::Type::Q8_0).inventory().file_type, "Q8_0");
    EXPECT_EQ(Draft().inventory().file_type, "");
}

TEST(ModelInventory, VocabularyFileHasNothingToCount) {
    Draft draft;
    draft.keys().add_string("general.architecture", "brand-new");
    draft.keys().add_u32("brand-new.context_length", 4096);
    const ModelInventory model = draft.inventory();
    EXPECT_EQ(model.architecture, "brand-new");
    EXPECT_FALSE(model.known_architecture);
    EXPECT_EQ(model.context_length, 4096);
    EXPECT_EQ(model.n_parameters, 0);
    EXPECT_TRUE(model.types.empty());
}

TEST(ModelInventory, FileWithoutMetadataIsUnknown) {
    const ModelInventory model = Draft().tensor("some.tensor", {16}).inventory();
    EXPECT_EQ(model.architecture, "unknown");
    EXPECT_EQ(model.name, "");
    EXPECT_EQ(model.n_active_parameters, 16);
}

TEST(ModelInventory, MetadataThatCannotBeTrueAreIgnored) {
    Draft draft;
    draft.keys().add_u32("general.architecture", 7);
    draft.keys().add_u64("unknown.block_count", std::numeric_limits<std::uint64_t>::max());
    draft.keys().add_i32("unknown.expert_count", -5);
    draft.keys().add_string("unknown.expert_used_count", "many");
    draft.keys().add_u64("unknown.nextn_predict_layers", std::uint64_t{1} << 40);
    draft.tensor("blk.2147483647.ffn_up_exps.weight", {16, 16, 2})
        .tensor("blk.99999999999999999999.ffn_up_exps.weight", {16})
        .tensor("blk.-1.ffn_up_exps.weight", {16})
        .tensor("blk.0.ffn_up.4294967296.weight", {16})
        .tensor("blk..ffn_up_exps.weight", {16})
        .tensor("blk.7", {16});
    const ModelInventory model = draft.inventory();
    EXPECT_EQ(model.architecture, "unknown");
    EXPECT_EQ(model.n_experts, 2);
    EXPECT_EQ(model.top_k, 0);
    EXPECT_EQ(model.n_layers, std::int64_t{1} << 31);
    EXPECT_EQ(model.expert_bytes, 2 * 256 * 4);
    EXPECT_EQ(model.n_active_parameters, model.n_parameters);
}

TEST(ModelInventory, MoreExpertsUsedThanThereAreMeansAll) {
    Draft draft;
    draft.keys().add_string("general.architecture", "x");
    draft.keys().add_u32("x.expert_count", 4);
    draft.keys().add_u32("x.expert_used_count", 2147483647);
    draft.tensor("blk.0.ffn_up_exps.weight", {16, 16, 4});
    EXPECT_EQ(draft.inventory().n_active_parameters, 16 * 16 * 4);
}

}  // namespace
}  // namespace greenroom::runtime
