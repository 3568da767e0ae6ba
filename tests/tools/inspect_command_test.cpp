// greenroom inspect, from outside: whole models, vocabularies, parts of split models, and names that want to
// be commands to the terminal.

#include "quant/gguf.h"
#include "quant/gguf_writer.h"
#include "tests/support/paths.h"
#include "tests/tools/subprocess.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

namespace greenroom::test {
namespace {

std::string inspect(const std::vector<std::string>& args) {
    std::vector<std::string> all = {"inspect"};
    all.insert(all.end(), args.begin(), args.end());
    const Finished finished = greenroom(all);
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    EXPECT_EQ(finished.err, "");
    return finished.out;
}

nlohmann::json inspect_json(const std::string& path) {
    return nlohmann::json::parse(inspect({path, "--json"}));
}

TEST(InspectCommand, JsonSaysWhatTheFileSays) {
    for (const char* name : {"deepseek2", "deepseek2-lite", "kimi-k2"}) {
        const quant::Gguf gguf = quant::Gguf::open(mini_model(name));
        const nlohmann::json json = inspect_json(mini_model(name));
        EXPECT_EQ(json.at("architecture"), *gguf.find_string("general.architecture"));
        EXPECT_EQ(json.at("file_type"), "BF16");
        EXPECT_EQ(json.at("known_architecture"), true);
        EXPECT_EQ(json.at("file_bytes"), std::filesystem::file_size(mini_model(name)));
        EXPECT_EQ(json.at("n_experts"), gguf.require_uint("deepseek2.expert_count"));
        EXPECT_EQ(json.at("metadata").size(), gguf.entries().size());
        EXPECT_EQ(json.at("metadata").at("deepseek2.block_count").at("type"), "u32");
        EXPECT_EQ(json.at("metadata").at("deepseek2.block_count").at("value"), json.at("n_layers"));
        const auto& tokens = json.at("metadata").at("tokenizer.ggml.tokens");
        EXPECT_EQ(tokens.at("element_type"), "string");
        EXPECT_EQ(tokens.at("value").size(), gguf.find_array("tokenizer.ggml.tokens")->size());
        ASSERT_EQ(json.at("tensors").size(), gguf.tensors().size());
        for (std::size_t i = 0; i < gguf.tensors().size(); ++i) {
            EXPECT_EQ(json.at("tensors").at(i).at("name"), gguf.tensors()[i].name);
            EXPECT_EQ(json.at("tensors").at(i).at("offset"), gguf.tensors()[i].file_offset);
            EXPECT_EQ(json.at("tensors").at(i).at("shape").at(0), gguf.tensors()[i].view.shape[0]);
        }
    }
}

TEST(InspectCommand, PageShowsModelExpertsAndTypes) {
    const std::string page = inspect({mini_model()});
    for (const char* shown : {"deepseek2", "384.2 k", "2 layers × 12 experts × 12.0 KiB, 4 used", "resident",
                              "routed experts", "BF16", "F32", "256 tokens"})
        EXPECT_NE(page.find(shown), std::string::npos) << shown << " in\n" << page;
    EXPECT_EQ(page.find("blk.0"), std::string::npos);
}

TEST(InspectCommand, SaysWhatATokenOfContextCosts) {
    const auto kv_cache = [](const std::string& model, const std::vector<std::string>& options) {
        std::vector<std::string> arguments{model, "--json"};
        arguments.insert(arguments.end(), options.begin(), options.end());
        return nlohmann::json::parse(inspect(arguments)).at("kv_cache");
    };
    // Three layers of a latent of 32 and a rotated key of 32.
    const nlohmann::json latent = kv_cache(mini_model(), {});
    EXPECT_EQ(latent.at("bytes_per_token"), 3 * 64 * 2);
    EXPECT_EQ(latent.at("state_bytes"), 0);
    EXPECT_EQ(kv_cache(mini_model(), {"-ctk", "q8_0"}).at("bytes_per_token"), 3 * 2 * 34);
    EXPECT_GT(kv_cache(mini_model("qwen35moe"), {}).at("state_bytes"), 0);
    EXPECT_NE(inspect({mini_model()}).find("384 bytes per token (keys f16, values f16)"), std::string::npos);
}

TEST(InspectCommand, ListsMetadataAndTensorsWhenAskedTo) {
    const std::string page = inspect({mini_model(), "--kv", "--tensors"});
    for (const char* shown : {"deepseek2.rope.freq_base", "tokenizer.ggml.tokens", "… 512 in all]",
                              "blk.1.ffn_down_exps.weight", "32 × 64 × 12"})
        EXPECT_NE(page.find(shown), std::string::npos) << shown << " in\n" << page;
}

TEST(InspectCommand, StrangeContentsAreShownHarmlessly) {
    const TempDir folder;
    quant::GgufWriter writer;
    writer.add_string("general.architecture", "brand\x1b[31mnew");
    writer.add_string("general.name", "caf\xC3\xA9 \xFF\n");
    writer.add_string("bad\xFFkey", std::string(100000, 'x'));
    writer.add_f32("not.a.number", std::numeric_limits<float>::quiet_NaN());
    writer.add_u64("largest", std::numeric_limits<std::uint64_t>::max());
    writer.write(folder.file("strange.gguf"));

    const std::string page = inspect({folder.file("strange.gguf"), "--kv", "--tensors"});
    for (const char c : page)
        EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20) << static_cast<int>(c);
    EXPECT_NE(page.find("brand\\x1b[31mnew"), std::string::npos) << page;
    EXPECT_NE(page.find("café \\xff\\n"), std::string::npos) << page;
    EXPECT_LT(page.size(), 2000U);

    const nlohmann::json json = inspect_json(folder.file("strange.gguf"));
    EXPECT_EQ(json.at("name"), "café \uFFFD\n");
    EXPECT_EQ(json.at("known_architecture"), false);
    EXPECT_EQ(json.at("metadata").at("largest").at("value"), std::numeric_limits<std::uint64_t>::max());
    EXPECT_TRUE(json.at("metadata").at("not.a.number").at("value").is_null());
    EXPECT_EQ(json.at("tensors").size(), 0U);
}

// The tiny model in two files, as llama-gguf-split names them.
class SplitModel {
  public:
    SplitModel() {
        const quant::Gguf model = quant::Gguf::open(mini_model());
        const std::size_t half = model.tensors().size() / 2;
        for (std::size_t part = 0; part < 2; ++part) {
            quant::GgufWriter writer;
            if (part == 0)
                for (const quant::GgufEntry& entry : model.entries()) writer.add(entry);
            writer.add_u32("split.no", static_cast<std::uint32_t>(part));
            writer.add_u32("split.count", 2);
            for (std::size_t i = 0; i < model.tensors().size(); ++i)
                if ((i < half) == (part == 0))
                    writer.add_tensor(model.tensors()[i].name, model.tensors()[i].view);
            writer.write(path(part));
        }
        n_first_ = half;
    }

    std::string path(std::size_t part) const {
        return folder_.file(fmt::format("m-0000{}-of-00002.gguf", part + 1));
    }
    std::size_t n_first() const { return n_first_; }

  private:
    TempDir folder_;
    std::size_t n_first_ = 0;
};

TEST(InspectCommand, SplitModelIsCountedAsAWhole) {
    const SplitModel split;
    nlohmann::json json = inspect_json(split.path(0));
    nlohmann::json whole = inspect_json(mini_model());
    EXPECT_EQ(json.at("n_parts"), 2);
    EXPECT_EQ(json.at("part_paths").size(), 2U);
    for (const char* key : {"n_parameters", "n_active_parameters", "expert_bytes", "resident_bytes", "types"})
        EXPECT_EQ(json.at(key), whole.at(key)) << key;
    EXPECT_EQ(json.at("tensors").back().at("part"), 2);
    EXPECT_NE(inspect({split.path(0)}).find("parts"), std::string::npos);
}

TEST(InspectCommand, PartOfASplitModelCanBeReadAlone) {
    const SplitModel split;
    const nlohmann::json second = inspect_json(split.path(1));
    EXPECT_EQ(second.at("part"), 2);
    EXPECT_EQ(second.at("tensors").front().at("part"), 2);
    std::filesystem::remove(split.path(1));
    const nlohmann::json first = inspect_json(split.path(0));
    EXPECT_EQ(first.at("part"), 1);
    EXPECT_EQ(first.at("tensors").size(), split.n_first());
    EXPECT_NE(
        inspect({split.path(0)}).find(fmt::format("part 1 of 2 alone, {} tensors here", split.n_first())),
        std::string::npos);
}

}  // namespace
}  // namespace greenroom::test
