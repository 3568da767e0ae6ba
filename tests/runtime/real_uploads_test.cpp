// The ways in which uploaded files differ from what today's converter writes: made from the tiny checkpoints,
// they load and give the same logits, or are refused with the reason.

#include "quant/decode.h"
#include "quant/gguf.h"
#include "runtime/engine.h"
#include "tests/runtime/edited_model.h"
#include "tests/runtime/oracle_model.h"
#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace greenroom::runtime {
namespace {

using quant::Gguf;
using quant::GgufWriter;
using test::ModelEdit;

// Tensors made for an edited file: the writer looks at them until the file is written.
class MadeTensors {
  public:
    // Rows of `row_bytes` bytes each, gathered from anywhere.
    TensorView from_rows(quant::Type type, std::vector<std::int64_t> shape,
                         const std::vector<const std::byte*>& rows) {
        TensorView view;
        view.type = type;
        view.n_dims = static_cast<int>(shape.size());
        std::copy(shape.begin(), shape.end(), view.shape.begin());
        const auto row_bytes = static_cast<std::size_t>(view.row_bytes());
        std::vector<std::byte>& bytes = memory_.emplace_back(rows.size() * row_bytes);
        for (std::size_t r = 0; r < rows.size(); ++r)
            std::memcpy(bytes.data() + r * row_bytes, rows[r], row_bytes);
        view.data = bytes.data();
        return view;
    }

    TensorView from_floats(std::vector<std::int64_t> shape, const std::vector<float>& values) {
        std::vector<const std::byte*> rows;
        for (std::size_t at = 0; at < values.size(); at += static_cast<std::size_t>(shape[0]))
            rows.push_back(reinterpret_cast<const std::byte*>(&values[at]));
        return from_rows(quant::Type::F32, std::move(shape), rows);
    }

  private:
    std::deque<std::vector<std::byte>> memory_;
};

std::vector<const std::byte*> rows_of(const TensorView& view) {
    std::vector<const std::byte*> rows;
    for (std::int64_t r = 0; r < view.n_rows(); ++r) rows.push_back(view.row(r));
    return rows;
}

class RealUploads : public testing::Test {
  protected:
    static Gguf open(const std::string& folder, const std::string& file = "model-bf16.gguf") {
        return Gguf::open(test::test_data("oracle/mini/" + folder + "/" + file).string());
    }

    std::unique_ptr<Engine> load(const Gguf& gguf, const ModelEdit& edit) const {
        const std::string path = folder_.file("edited.gguf");
        const std::vector<std::byte> image = test::edit_model(gguf, edit);
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(image.data()), static_cast<std::streamsize>(image.size()));
        return Engine::load(path, {1, {}});
    }

    // The reference's logits, from a file laid out differently.
    void expect_reference(const Gguf& gguf, const std::string& folder, const ModelEdit& edit,
                          double max_difference = 1e-3) const {
        const test::OracleModel oracle{test::test_data("oracle/mini/" + folder)};
        const auto engine = load(gguf, edit);
        const auto ours = test::all_logits(*engine, oracle.ids("tokens_p1").values, 16);
        EXPECT_LE(test::max_abs_difference(oracle.floats("logits_p1").values, ours), max_difference);
    }

    const test::TempDir folder_;
    MadeTensors made_;
};

// attn_kv_b in one piece and the lengths under their old names, as before April 2025; with also_split as
// ik_llama.cpp's files, which hold the parts besides.
ModelEdit with_one_kv_b(const Gguf& gguf, MadeTensors& made, const std::string& arch, bool also_split) {
    ModelEdit edit;
    edit.drop_keys = {arch + ".attention.key_length_mla", arch + ".attention.value_length_mla",
                      arch + ".attention.key_length", arch + ".attention.value_length"};
    const auto key_length = static_cast<std::uint32_t>(gguf.require_uint(arch + ".attention.key_length_mla"));
    const auto value_length =
        static_cast<std::uint32_t>(gguf.require_uint(arch + ".attention.value_length_mla"));
    const std::uint64_t n_layers = gguf.require_uint(arch + ".block_count");
    std::vector<std::pair<std::string, TensorView>> tensors;
    for (std::uint64_t i = 0; i < n_layers; ++i) {
        const std::string block = fmt::format("blk.{}.", i);
        const TensorView k_b = gguf.find_tensor(block + "attn_k_b.weight")->view;
        const TensorView v_b = gguf.find_tensor(block + "attn_v_b.weight")->view;
        const std::int64_t nope = k_b.shape[0];
        const std::int64_t latent = k_b.shape[1];
        const std::int64_t n_heads = k_b.shape[2];
        std::vector<float> all;
        for (std::int64_t h = 0; h < n_heads; ++h) {
            std::vector<float> key(static_cast<std::size_t>(nope * latent));
            for (std::int64_t r = 0; r < latent; ++r)
                quant::decode_row(k_b.type, k_b.matrix(h).row(r), &key[static_cast<std::size_t>(r * nope)],
                                  nope);
            for (std::int64_t n = 0; n < nope; ++n)
                for (std::int64_t r = 0; r < latent; ++r)
                    all.push_back(key[static_cast<std::size_t>(r * nope + n)]);
            std::vector<float> value(static_cast<std::size_t>(latent));
            for (std::int64_t r = 0; r < v_b.shape[1]; ++r) {
                quant::decode_row(v_b.type, v_b.matrix(h).row(r), value.data(), latent);
                all.insert(all.end(), value.begin(), value.end());
            }
        }
        tensors.emplace_back(block + "attn_kv_b.weight",
                             made.from_floats({latent, n_heads * (nope + v_b.shape[1])}, all));
        if (!also_split) edit.drop_tensors.insert({block + "attn_k_b.weight", block + "attn_v_b.weight"});
    }
    edit.add = [=](GgufWriter& writer) {
        writer.add_u32(arch + ".attention.key_length", key_length);
        writer.add_u32(arch + ".attention.value_length", value_length);
        for (const auto& [name, view] : tensors) writer.add_tensor(name, view);
    };
    return edit;
}

TEST_F(RealUploads, DeepSeekWithKeyAndValueDecompressionInOnePiece) {
    for (const char* folder : {"deepseek2", "deepseek2-lite", "kimi-k2"}) {
        const Gguf gguf = open(folder);
        expect_reference(gguf, folder, with_one_kv_b(gguf, made_, "deepseek2", false));
        expect_reference(gguf, folder, with_one_kv_b(gguf, made_, "deepseek2", true));
    }
}

TEST_F(RealUploads, FusedGateAndUpOfTheExperts) {
    const Gguf gguf = open("qwen3moe");
    ModelEdit edit;
    std::vector<std::pair<std::string, TensorView>> tensors;
    for (std::uint64_t i = 0; i < gguf.require_uint("qwen3moe.block_count"); ++i) {
        const std::string block = fmt::format("blk.{}.", i);
        const TensorView gate = gguf.find_tensor(block + "ffn_gate_exps.weight")->view;
        const TensorView up = gguf.find_tensor(block + "ffn_up_exps.weight")->view;
        std::vector<const std::byte*> rows;
        for (std::int64_t e = 0; e < gate.shape[2]; ++e)
            for (const TensorView& part : {gate.matrix(e), up.matrix(e)})
                for (const std::byte* row : rows_of(part)) rows.push_back(row);
        tensors.emplace_back(
            block + "ffn_gate_up_exps.weight",
            made_.from_rows(gate.type, {gate.shape[0], 2 * gate.shape[1], gate.shape[2]}, rows));
        edit.drop_tensors.insert({block + "ffn_gate_exps.weight", block + "ffn_up_exps.weight"});
    }
    edit.add = [&](GgufWriter& writer) {
        for (const auto& [name, view] : tensors) writer.add_tensor(name, view);
    };
    expect_reference(gguf, "qwen3moe", edit);
}

TEST_F(RealUploads, FusedQueryKeyAndValue) {
    for (const char* folder : {"qwen3moe", "qwen2moe"}) {
        const Gguf gguf = open(folder);
        ModelEdit edit;
        std::vector<std::pair<std::string, TensorView>> tensors;
        for (std::uint64_t i = 0; i < gguf.require_uint(std::string(folder) + ".block_count"); ++i)
            for (const char* kind : {"weight", "bias"}) {
                std::vector<const std::byte*> rows;
                std::vector<float> values;
                TensorView first;
                for (const char* part : {"attn_q", "attn_k", "attn_v"}) {
                    const std::string name = fmt::format("blk.{}.{}.{}", i, part, kind);
                    const quant::GgufTensor* tensor = gguf.find_tensor(name);
                    if (tensor == nullptr) continue;
                    edit.drop_tensors.insert(name);
                    first = tensor->view;
                    for (const std::byte* row : rows_of(first)) rows.push_back(row);
                    if (first.n_dims == 1) {
                        values.resize(values.size() + static_cast<std::size_t>(first.shape[0]));
                        std::memcpy(values.data() + values.size() - first.shape[0], first.data,
                                    static_cast<std::size_t>(first.bytes()));
                    }
                }
                if (rows.empty()) continue;
                tensors.emplace_back(
                    fmt::format("blk.{}.attn_qkv.{}", i, kind),
                    first.n_dims == 1
                        ? made_.from_floats({static_cast<std::int64_t>(values.size())}, values)
                        : made_.from_rows(first.type,
                                          {first.shape[0], static_cast<std::int64_t>(rows.size())}, rows));
            }
        edit.add = [&](GgufWriter& writer) {
            for (const auto& [name, view] : tensors) writer.add_tensor(name, view);
        };
        expect_reference(gguf, folder, edit);
    }
}

TEST_F(RealUploads, MixtralWithATensorPerExpert) {
    const Gguf gguf = open("mixtral", "model-f16.gguf");
    ModelEdit edit;
    std::vector<std::pair<std::string, TensorView>> tensors;
    for (std::uint64_t i = 0; i < gguf.require_uint("llama.block_count"); ++i)
        for (const char* part : {"ffn_gate", "ffn_up", "ffn_down"}) {
            const std::string stacked = fmt::format("blk.{}.{}_exps.weight", i, part);
            const TensorView view = gguf.find_tensor(stacked)->view;
            edit.drop_tensors.insert(stacked);
            for (std::int64_t e = 0; e < view.shape[2]; ++e)
                tensors.emplace_back(fmt::format("blk.{}.{}.{}.weight", i, part, e), view.matrix(e));
        }
    edit.add = [&](GgufWriter& writer) {
        for (const auto& [name, view] : tensors) writer.add_tensor(name, view);
    };
    expect_reference(gguf, "mixtral", edit);
}

// Queries, keys, values and gates in one matrix, key head by key head, as the first converter wrote them.
TEST_F(RealUploads, Qwen3NextWithOneProjection) {
    const Gguf gguf = open("qwen3next");
    constexpr std::int64_t kKeyHeads = 2;
    constexpr std::int64_t kKeyDim = 32;
    constexpr std::int64_t kValues = 2 * 32;  // of a key head's two value heads
    ModelEdit edit;
    std::vector<std::pair<std::string, TensorView>> tensors;
    for (int i = 0; i < 4; ++i) {
        const quant::GgufTensor* qkv = gguf.find_tensor(fmt::format("blk.{}.attn_qkv.weight", i));
        if (qkv == nullptr) continue;
        const TensorView z = gguf.find_tensor(fmt::format("blk.{}.attn_gate.weight", i))->view;
        std::vector<const std::byte*> rows;
        const auto take = [&rows](const TensorView& from, std::int64_t first, std::int64_t n) {
            for (std::int64_t r = first; r < first + n; ++r) rows.push_back(from.row(r));
        };
        for (std::int64_t g = 0; g < kKeyHeads; ++g) {
            take(qkv->view, g * kKeyDim, kKeyDim);
            take(qkv->view, (kKeyHeads + g) * kKeyDim, kKeyDim);
            take(qkv->view, 2 * kKeyHeads * kKeyDim + g * kValues, kValues);
            take(z, g * kValues, kValues);
        }
        tensors.emplace_back(
            fmt::format("blk.{}.ssm_in.weight", i),
            made_.from_rows(z.type, {z.shape[0], static_cast<std::int64_t>(rows.size())}, rows));
        edit.drop_tensors.insert(
            {fmt::format("blk.{}.attn_qkv.weight", i), fmt::format("blk.{}.attn_gate.weight", i)});
    }
    ASSERT_EQ(tensors.size(), 3U);
    edit.add = [&](GgufWriter& writer) {
        for (const auto& [name, view] : tensors) writer.add_tensor(name, view);
    };
    expect_reference(gguf, "qwen3next", edit, 1e-2);
}

TEST_F(RealUploads, TiedOutputIsTheEmbedding) {
    const Gguf gguf = open("qwen3moe");
    const auto tied = load(gguf, {{}, {"output.weight"}, {}, {}});
    EXPECT_EQ(tied->weights().output.data, tied->weights().token_embedding.data);
    Session(*tied, {16, 8}).evaluate(std::vector<text::TokenId>{1, 2, 3});
}

TEST_F(RealUploads, LayersThatPredictFurtherTokensAreLeftAlone) {
    const Gguf gguf = open("deepseek2");
    const auto n_layers = static_cast<std::uint32_t>(gguf.require_uint("deepseek2.block_count"));
    const TensorView norm = gguf.find_tensor("output_norm.weight")->view;
    ModelEdit edit;
    edit.drop_keys = {"deepseek2.block_count"};
    edit.add = [&](GgufWriter& writer) {
        writer.add_u32("deepseek2.block_count", n_layers + 1);
        writer.add_u32("deepseek2.nextn_predict_layers", 1);
        for (const char* name : {"attn_norm.weight", "nextn.hnorm.weight", "nextn.shared_head_norm.weight"})
            writer.add_tensor(fmt::format("blk.{}.{}", n_layers, name), norm);
    };
    expect_reference(gguf, "deepseek2", edit);
}

TEST_F(RealUploads, KeysThatOlderConvertersLeftOut) {
    const Gguf qwen2 = open("qwen2moe");
    const auto per_expert =
        static_cast<std::uint32_t>(qwen2.require_uint("qwen2moe.expert_feed_forward_length"));
    const auto shared =
        static_cast<std::uint32_t>(qwen2.require_uint("qwen2moe.expert_shared_feed_forward_length"));
    const auto top_k = static_cast<std::uint32_t>(qwen2.require_uint("qwen2moe.expert_used_count"));
    // feed_forward_length is the shared expert's there, and that of the chosen ones together.
    if (shared == per_expert * top_k)
        expect_reference(qwen2, "qwen2moe",
                         {{"qwen2moe.expert_feed_forward_length",
                           "qwen2moe.expert_shared_feed_forward_length", "qwen2moe.feed_forward_length"},
                          {},
                          [&](GgufWriter& w) { w.add_u32("qwen2moe.feed_forward_length", shared); },
                          {}});
    expect_reference(open("qwen35moe"), "qwen35moe", {{"qwen35moe.attention.recurrent_layers"}, {}, {}, {}},
                     1e-2);
    expect_reference(
        open("qwen35moe"), "qwen35moe",
        {{"qwen35moe.attention.recurrent_layers", "qwen35moe.full_attention_interval"}, {}, {}, {}}, 1e-2);
    expect_reference(open("mixtral", "model-f16.gguf"), "mixtral",
                     {{"llama.rope.dimension_count", "llama.vocab_size"}, {}, {}, {}});
}

TEST_F(RealUploads, DeepSeekV32WithoutItsIndexerAttendsToEverything) {
    const Gguf gguf = open("deepseek32");
    ModelEdit edit;
    for (const quant::GgufTensor& tensor : gguf.tensors())
        if (tensor.name.find(".indexer.") != std::string_view::npos)
            edit.drop_tensors.insert(std::string(tensor.name));
    const auto engine = load(gguf, edit);
    // Up to top_k tokens the indexer makes no difference.
    const test::OracleModel oracle{test::test_data("oracle/mini/deepseek32")};
    const auto n = static_cast<std::size_t>(gguf.require_uint("deepseek32.attention.indexer.top_k"));
    auto tokens = oracle.ids("tokens_p1").values;
    auto reference = oracle.floats("logits_p1").values;
    tokens.resize(std::min(n, tokens.size()));
    reference.resize(tokens.size() * static_cast<std::size_t>(engine->spec().n_vocab));
    EXPECT_LE(test::max_abs_difference(reference, test::all_logits(*engine, tokens, 16)), 1e-3);
}

TEST_F(RealUploads, AnIndexerInSomeLayersOnlyIsRefused) {
    const Gguf gguf = open("deepseek32");
    ModelEdit edit;
    for (const quant::GgufTensor& tensor : gguf.tensors())
        if (tensor.name.starts_with("blk.1.indexer.")) edit.drop_tensors.insert(std::string(tensor.name));
    test::expect_error(ErrorKind::unsupported, {"indexer.attn_k", "2 of 3 blocks"},
                       [&] { load(gguf, edit); });
}

}  // namespace
}  // namespace greenroom::runtime
