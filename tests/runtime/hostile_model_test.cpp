// Files that are well-formed GGUF but no model that can be run: each gets an Error that names the key or
// tensor, what was found and what was expected.

#include "quant/base/error.h"
#include "runtime/arch/registry.h"
#include "runtime/engine.h"
#include "runtime/session.h"
#include "runtime/text/tokenizer.h"
#include "runtime/weights.h"
#include "tests/runtime/edited_model.h"
#include "tests/support/errors.h"
#include "tests/support/gguf_image.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::runtime {
namespace {

using quant::Gguf;
using quant::GgufWriter;
using test::ModelEdit;

const std::string kMini = test::test_data("oracle/mini/deepseek2/model-bf16.gguf").string();

// Everything that Engine::load does with a file, on an image in memory.
void load_image(const std::vector<std::byte>& image) {
    const Gguf gguf = Gguf::parse(image.data(), image.size(), "edited.gguf");
    const ModelSpec spec = read_model_spec(gguf);
    bind_weights(gguf, spec);
    text::Tokenizer::load(gguf);
}

class HostileModel : public testing::Test {
  protected:
    void expect_refused(const ModelEdit& edit, ErrorKind kind,
                        std::initializer_list<std::string_view> message) {
        test::expect_error(kind, message, [&] { load_image(test::edit_model(gguf_, edit)); });
    }

    // The key with another value.
    static ModelEdit with_u32(const std::string& key, std::uint32_t value) {
        return {{key}, {}, [=](GgufWriter& w) { w.add_u32(key, value); }, {}};
    }
    static ModelEdit with_f32(const std::string& key, float value) {
        return {{key}, {}, [=](GgufWriter& w) { w.add_f32(key, value); }, {}};
    }
    static ModelEdit with_string(const std::string& key, const std::string& value) {
        return {{key}, {}, [=](GgufWriter& w) { w.add_string(key, value); }, {}};
    }

    const Gguf gguf_ = Gguf::open(kMini);
};

TEST_F(HostileModel, UneditedCopyLoads) { load_image(test::edit_model(gguf_, {})); }

TEST_F(HostileModel, UnknownOrMissingArchitecture) {
    expect_refused(with_string("general.architecture", "mamba"), ErrorKind::unsupported,
                   {"general.architecture", "mamba", "deepseek2"});
    expect_refused({{"general.architecture"}, {}, {}, {}}, ErrorKind::bad_input,
                   {"general.architecture", "missing"});
    expect_refused(with_u32("general.architecture", 3), ErrorKind::bad_input,
                   {"general.architecture", "u32", "string"});
}

TEST_F(HostileModel, EveryRequiredKeyIsMissedByName) {
    for (const char* key :
         {"deepseek2.block_count", "deepseek2.context_length", "deepseek2.embedding_length",
          "deepseek2.feed_forward_length", "deepseek2.attention.head_count", "deepseek2.expert_count",
          "deepseek2.expert_used_count", "deepseek2.attention.kv_lora_rank", "deepseek2.rope.dimension_count",
          "deepseek2.attention.key_length_mla", "deepseek2.attention.value_length_mla",
          "deepseek2.expert_feed_forward_length", "deepseek2.rope.scaling.original_context_length"}) {
        SCOPED_TRACE(key);
        expect_refused({{key}, {}, {}, {}}, ErrorKind::bad_input, {"edited.gguf", key, "missing"});
    }
    expect_refused({{"tokenizer.ggml.tokens"}, {}, {}, {}}, ErrorKind::bad_input, {"tokenizer.ggml.tokens"});
}

TEST_F(HostileModel, NumbersOutOfRangeAreNamed) {
    const std::uint32_t huge = std::numeric_limits<std::uint32_t>::max();
    for (const char* key : {"deepseek2.block_count", "deepseek2.context_length", "deepseek2.embedding_length",
                            "deepseek2.feed_forward_length", "deepseek2.attention.head_count",
                            "deepseek2.expert_count", "deepseek2.expert_used_count",
                            "deepseek2.attention.kv_lora_rank", "deepseek2.attention.q_lora_rank",
                            "deepseek2.rope.dimension_count", "deepseek2.attention.key_length_mla",
                            "deepseek2.attention.value_length_mla", "deepseek2.expert_feed_forward_length",
                            "deepseek2.expert_shared_count", "deepseek2.leading_dense_block_count"}) {
        SCOPED_TRACE(key);
        expect_refused(with_u32(key, huge), ErrorKind::bad_input, {key, "4294967295", "expected"});
        expect_refused(with_string(key, "7"), ErrorKind::bad_input, {key, "string", "integer"});
    }
    for (const char* key :
         {"deepseek2.block_count", "deepseek2.embedding_length", "deepseek2.attention.head_count",
          "deepseek2.expert_count", "deepseek2.expert_used_count", "deepseek2.context_length"}) {
        SCOPED_TRACE(key);
        expect_refused(with_u32(key, 0), ErrorKind::bad_input, {key, "found 0", "expected 1"});
    }
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (const char* key : {"deepseek2.rope.freq_base", "deepseek2.attention.layer_norm_rms_epsilon",
                            "deepseek2.expert_weights_scale", "deepseek2.rope.scaling.factor"}) {
        SCOPED_TRACE(key);
        expect_refused(with_f32(key, nan), ErrorKind::bad_input, {key, "nan"});
    }
    expect_refused(with_u32("deepseek2.rope.dimension_count", 31), ErrorKind::unsupported,
                   {"rope.dimension_count", "31", "even"});
    expect_refused(with_u32("deepseek2.expert_gating_func", 9), ErrorKind::unsupported,
                   {"expert_gating_func", "9", "sigmoid"});
    expect_refused(with_u32("deepseek2.expert_group_count", 5), ErrorKind::unsupported,
                   {"expert_group_count", "5"});
    expect_refused(with_string("deepseek2.rope.scaling.type", "longrope"), ErrorKind::unsupported,
                   {"rope.scaling.type", "longrope", "yarn"});
}

TEST_F(HostileModel, EveryMissingTensorIsNamed) {
    for (const quant::GgufTensor& tensor : gguf_.tensors()) {
        const std::string name(tensor.name);
        SCOPED_TRACE(name);
        // Without an output matrix the embedding serves (tied); without the bias the router has none.
        if (name == "output.weight" || name.ends_with("exp_probs_b.bias")) {
            load_image(test::edit_model(gguf_, {{}, {name}, {}, {}}));
            continue;
        }
        expect_refused({{}, {name}, {}, {}}, ErrorKind::bad_input,
                       {"edited.gguf", "tensor " + name, "missing"});
    }
}

TEST_F(HostileModel, EveryWrongShapeIsNamed) {
    for (const quant::GgufTensor& tensor : gguf_.tensors()) {
        const std::string name(tensor.name);
        SCOPED_TRACE(name);
        const auto halve = [&](std::string_view n, TensorView view) {
            if (n == name) view.shape[view.n_dims > 1 ? 1 : 0] /= 2;
            return view;
        };
        expect_refused({{}, {}, {}, halve}, ErrorKind::bad_input, {"tensor " + name, "shape", "expected"});
    }
}

TEST_F(HostileModel, WrongTypesAreNamed) {
    const auto as = [](std::string name, quant::Type type) {
        return [=](std::string_view n, TensorView view) {
            if (n == name) view.type = type;
            return view;
        };
    };
    expect_refused({{}, {}, {}, as("blk.0.attn_norm.weight", quant::Type::F16)}, ErrorKind::unsupported,
                   {"blk.0.attn_norm.weight", "F16", "F32"});
    expect_refused({{}, {}, {}, as("blk.1.ffn_gate_exps.weight", quant::Type::I16)}, ErrorKind::unsupported,
                   {"blk.1.ffn_gate_exps.weight", "I16"});
}

TEST_F(HostileModel, TensorsWithoutAUseAreRefusedRatherThanIgnored) {
    static const float bias[4] = {};
    const ModelEdit edit{
        {},
        {},
        [](GgufWriter& w) {
            w.add_tensor("blk.0.attn_q.bias",
                         {quant::Type::F32, 1, {4, 1, 1, 1}, reinterpret_cast<const std::byte*>(bias)});
        },
        {}};
    expect_refused(edit, ErrorKind::unsupported, {"blk.0.attn_q.bias", "deepseek2"});
}

TEST_F(HostileModel, LayersOfMultiTokenPredictionAreLeftAlone) {
    static const float weight[4] = {};
    const ModelEdit edit{
        {"deepseek2.block_count"},
        {},
        [](GgufWriter& w) {
            w.add_u32("deepseek2.block_count", 4);
            w.add_u32("deepseek2.nextn_predict_layers", 1);
            w.add_tensor("blk.3.nextn.enorm.weight",
                         {quant::Type::F32, 1, {4, 1, 1, 1}, reinterpret_cast<const std::byte*>(weight)});
        },
        {}};
    const auto image = test::edit_model(gguf_, edit);
    const Gguf gguf = Gguf::parse(image.data(), image.size(), "edited.gguf");
    const ModelSpec spec = read_model_spec(gguf);
    EXPECT_EQ(spec.n_layers(), 3);
    bind_weights(gguf, spec);
}

TEST_F(HostileModel, VocabularyOfAnotherSizeThanTheEmbeddingIsRefused) {
    const ModelEdit edit{{"tokenizer.ggml.tokens"},
                         {},
                         [](GgufWriter& w) {
                             const std::vector<std::string> tokens(100, "x");
                             w.add_strings("tokenizer.ggml.tokens", tokens);
                         },
                         {}};
    expect_refused(edit, ErrorKind::bad_input, {"token_embd.weight", "512", "100"});
}

TEST_F(HostileModel, FlippedBytesOfTheHeaderGiveAnErrorOrAModelThatRuns) {
    const auto whole = test::read_file(kMini);
    const std::size_t header_bytes = gguf_.tensors().front().file_offset;
    constexpr unsigned kSeed = 3;
    std::mt19937 random(kSeed);
    int n_errors = 0;
    for (int n = 0; n < 600; ++n) {
        auto image = whole;
        const std::size_t at = random() % header_bytes;
        image[at] ^= static_cast<std::byte>(1 + random() % 255);
        try {
            load_image(image);
        } catch (const Error& error) {
            ++n_errors;
            EXPECT_NE(static_cast<int>(error.kind()), static_cast<int>(ErrorKind::internal))
                << error.what() << " at byte " << at;
        }
    }
    EXPECT_GT(n_errors, 0) << "seed " << kSeed;
}

TEST_F(HostileModel, VocabularyFileIsCalledByItsName) {
    const test::TempDir dir;
    ModelEdit edit;
    for (const quant::GgufTensor& tensor : gguf_.tensors()) edit.drop_tensors.emplace(tensor.name);
    test::write_file(dir.file("vocab.gguf"), test::edit_model(gguf_, edit));
    test::expect_error(ErrorKind::bad_input, {"vocab.gguf", "no tensors", "vocabulary"},
                       [&] { Engine::load(dir.file("vocab.gguf")); });
}

TEST_F(HostileModel, NonsenseWeightsRunWithoutACrash) {
    // All tensor data set to 0xff: NaN everywhere.
    auto image = test::read_file(kMini);
    const std::size_t data_start = gguf_.tensors().front().file_offset;
    std::fill(image.begin() + static_cast<std::ptrdiff_t>(data_start), image.end(), std::byte{0xff});
    const test::TempDir dir;
    test::write_file(dir.file("nan.gguf"), image);
    const auto engine = Engine::load(dir.file("nan.gguf"));
    Session session(*engine, {16, 16});
    const std::vector<text::TokenId> tokens = {1, 2, 3};
    EXPECT_EQ(session.evaluate(tokens), Evaluated::done);
}

}  // namespace
}  // namespace greenroom::runtime
