// The GGUF reader on well-formed files: what it finds and where.

#include "quant/gguf.h"

#include "quant/base/error.h"
#include "quant/gguf_writer.h"
#include "tests/support/errors.h"
#include "tests/support/gguf_image.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace greenroom::quant {
namespace {

using test::expect_error;
using test::TempDir;

const std::string kMini = test::test_data("oracle/mini/deepseek2/model-bf16.gguf").string();

TEST(Gguf, ReadsHeaderMetadataAndTensorsOfAConvertedModel) {
    const Gguf gguf = Gguf::open(kMini);
    EXPECT_EQ(gguf.version(), 3);
    EXPECT_EQ(gguf.alignment(), 32U);
    EXPECT_EQ(gguf.require_string("general.architecture"), "deepseek2");
    EXPECT_EQ(gguf.require_uint("deepseek2.block_count"), 3U);
    EXPECT_FLOAT_EQ(static_cast<float>(gguf.require_double("deepseek2.rope.freq_base")), 10000.0F);
    EXPECT_EQ(gguf.find_bool("deepseek2.expert_weights_norm"), true);
    const GgufArray* tokens = gguf.find_array("tokenizer.ggml.tokens");
    ASSERT_NE(tokens, nullptr);
    EXPECT_EQ(tokens->size(), 512U);
    EXPECT_EQ((*tokens)[0].as_string(), "!");

    const GgufTensor* experts = gguf.find_tensor("blk.1.ffn_gate_exps.weight");
    ASSERT_NE(experts, nullptr);
    EXPECT_EQ(experts->view.type, Type::BF16);
    EXPECT_EQ(experts->view.n_dims, 3);
    EXPECT_EQ(experts->view.shape, (std::array<std::int64_t, 4>{64, 32, 12, 1}));
    EXPECT_EQ(experts->view.bytes(), 64 * 32 * 12 * 2);
    EXPECT_EQ(experts->view.matrix(3).data, experts->view.data + std::ptrdiff_t{3} * 64 * 32 * 2);
}

TEST(Gguf, TensorDataIsSeenInPlace) {
    const std::vector<std::byte> image = test::read_file(kMini);
    const Gguf gguf = Gguf::parse(image.data(), image.size(), "image");
    for (const GgufTensor& tensor : gguf.tensors()) {
        EXPECT_EQ(tensor.view.data, image.data() + tensor.file_offset);
        EXPECT_EQ(tensor.file_offset % gguf.alignment(), 0U);
    }
}

TEST(Gguf, MissingKeysAreEmptyOrNamedErrors) {
    const Gguf gguf = Gguf::open(kMini);
    EXPECT_EQ(gguf.find("no.such.key"), nullptr);
    EXPECT_EQ(gguf.find_uint("no.such.key"), std::nullopt);
    EXPECT_EQ(gguf.find_tensor("no.such.tensor"), nullptr);
    expect_error(ErrorKind::bad_input, {kMini, "no.such.key", "missing"},
                 [&] { gguf.require_uint("no.such.key"); });
    expect_error(ErrorKind::bad_input, {"general.architecture", "string", "integer"},
                 [&] { gguf.require_uint("general.architecture"); });
}

TEST(Gguf, ReadsEveryTypeOfValueAndNestedArrays) {
    // By hand, since the writer copies nested arrays but cannot make them.
    std::vector<std::byte> image;
    const auto put = [&image](auto value) {
        const auto* p = reinterpret_cast<const std::byte*>(&value);
        image.insert(image.end(), p, p + sizeof value);
    };
    const auto put_string = [&](std::string_view text) {
        put(std::uint64_t{text.size()});
        for (const char c : text) image.push_back(static_cast<std::byte>(c));
    };
    const auto key = [&](std::string_view name, GgufType type) {
        put_string(name);
        put(static_cast<std::uint32_t>(type));
    };
    put(std::uint32_t{0x46554747});
    put(std::uint32_t{2});  // version 2 has the same layout
    put(std::uint64_t{0});
    put(std::uint64_t{13});
    key("u8", GgufType::u8), put(std::uint8_t{200});
    key("i8", GgufType::i8), put(std::int8_t{-100});
    key("u16", GgufType::u16), put(std::uint16_t{60000});
    key("i16", GgufType::i16), put(std::int16_t{-30000});
    key("u32", GgufType::u32), put(std::uint32_t{4000000000U});
    key("i32", GgufType::i32), put(std::int32_t{-2000000000});
    key("u64", GgufType::u64), put(std::uint64_t{18000000000000000000U});
    key("i64", GgufType::i64), put(std::int64_t{-9000000000000000000});
    key("f32", GgufType::f32), put(1.5F);
    key("f64", GgufType::f64), put(-2.25);
    key("bool", GgufType::boolean), put(std::uint8_t{1});
    key("string", GgufType::string), put_string(std::string_view("zero\0byte", 9));
    key("nested", GgufType::array);
    put(static_cast<std::uint32_t>(GgufType::array)), put(std::uint64_t{2});
    put(static_cast<std::uint32_t>(GgufType::i16)), put(std::uint64_t{2}), put(std::int16_t{1}),
        put(std::int16_t{-2});
    put(static_cast<std::uint32_t>(GgufType::string)), put(std::uint64_t{1}), put_string("inner");

    const Gguf gguf = Gguf::parse(image.data(), image.size(), "image");
    EXPECT_EQ(gguf.version(), 2);
    EXPECT_EQ(gguf.find("u8")->as_uint(), 200U);
    EXPECT_EQ(gguf.find("i8")->as_int(), -100);
    EXPECT_EQ(gguf.find("i8")->as_uint(), std::nullopt);
    EXPECT_EQ(gguf.find("u16")->as_int(), 60000);
    EXPECT_EQ(gguf.find("i16")->as_int(), -30000);
    EXPECT_EQ(gguf.find("u32")->as_uint(), 4000000000U);
    EXPECT_EQ(gguf.find("i32")->as_int(), -2000000000);
    EXPECT_EQ(gguf.find("u64")->as_uint(), 18000000000000000000U);
    EXPECT_EQ(gguf.find("u64")->as_int(), std::nullopt);
    EXPECT_EQ(gguf.find("i64")->as_int(), -9000000000000000000);
    EXPECT_EQ(gguf.find("f32")->as_double(), 1.5);
    EXPECT_EQ(gguf.find("f64")->as_double(), -2.25);
    EXPECT_EQ(gguf.find("bool")->as_bool(), true);
    EXPECT_EQ(gguf.find("string")->as_string(), std::string_view("zero\0byte", 9));
    const GgufArray* nested = gguf.find_array("nested");
    ASSERT_NE(nested, nullptr);
    ASSERT_EQ(nested->size(), 2U);
    EXPECT_EQ((*(*nested)[0].as_array())[1].as_int(), -2);
    EXPECT_EQ((*(*nested)[1].as_array())[0].as_string(), "inner");

    // The writer copies all of it as it is.
    GgufWriter writer;
    for (const GgufEntry& entry : gguf.entries()) writer.add(entry);
    const std::vector<std::byte> copy = writer.serialize();
    const Gguf again = Gguf::parse(copy.data(), copy.size(), "copy");
    EXPECT_EQ(again.entries().size(), gguf.entries().size());
    EXPECT_EQ((*(*again.find_array("nested"))[1].as_array())[0].as_string(), "inner");
    EXPECT_EQ(again.find("i64")->as_int(), -9000000000000000000);
}

// A model of two tensors in two parts, as llama.cpp's gguf-split writes them.
class SplitModel : public testing::Test {
  protected:
    void write_part(int number, int count, const std::string& tensor, std::uint16_t tensors_count = 2) {
        GgufWriter writer;
        if (number == 0) writer.add_string("general.architecture", "test");
        writer.add_u32("split.no", static_cast<std::uint32_t>(number));
        writer.add_u32("split.count", static_cast<std::uint32_t>(count));
        writer.add_i32("split.tensors.count", tensors_count);
        TensorView view{Type::F32, 1, {4, 1, 1, 1}, reinterpret_cast<const std::byte*>(values_)};
        writer.add_tensor(tensor, view);
        writer.write(part(number));
    }

    std::string part(int number) const { return dir_.file(fmt::format("m-{:05}-of-00002.gguf", number + 1)); }

    TempDir dir_;
    float values_[4] = {1, 2, 3, 4};
};

TEST_F(SplitModel, IsOpenedByItsFirstPart) {
    write_part(0, 2, "a");
    write_part(1, 2, "b");
    const Gguf gguf = Gguf::open(part(0));
    EXPECT_EQ(gguf.part_paths().size(), 2U);
    EXPECT_EQ(gguf.require_string("general.architecture"), "test");
    ASSERT_NE(gguf.find_tensor("b"), nullptr);
    EXPECT_EQ(gguf.find_tensor("b")->part, 1U);
    EXPECT_EQ(std::memcmp(gguf.find_tensor("b")->view.data, values_, sizeof values_), 0);
}

TEST_F(SplitModel, FirstPartAloneCanBeLookedAt) {
    write_part(0, 2, "a");
    const Gguf gguf = Gguf::open(part(0), SplitParts::first_only);
    EXPECT_EQ(gguf.n_parts_expected(), 2U);
    EXPECT_EQ(gguf.tensors().size(), 1U);
    expect_error(ErrorKind::io, {"m-00002-of-00002.gguf", "No such file"}, [&] { Gguf::open(part(0)); });
}

TEST_F(SplitModel, OtherPartsAreRefusedAsTheFirst) {
    write_part(1, 2, "b");
    expect_error(ErrorKind::bad_input, {"part 2 of 2", "00001-of-00002"}, [&] { Gguf::open(part(1)); });
}

TEST_F(SplitModel, RenamedFirstPartIsExplained) {
    write_part(0, 2, "a");
    std::filesystem::rename(part(0), dir_.file("renamed.gguf"));
    expect_error(ErrorKind::bad_input, {"renamed.gguf", "original names"},
                 [&] { Gguf::open(dir_.file("renamed.gguf")); });
}

TEST_F(SplitModel, PartOfAnotherModelIsRefused) {
    write_part(0, 2, "a");
    write_part(1, 3, "b");
    expect_error(ErrorKind::bad_input, {"m-00002-of-00002.gguf", "split.count"},
                 [&] { Gguf::open(part(0)); });
}

TEST_F(SplitModel, SameTensorInTwoPartsIsRefused) {
    write_part(0, 2, "a");
    write_part(1, 2, "a");
    expect_error(ErrorKind::bad_input, {"tensor a", "twice"}, [&] { Gguf::open(part(0)); });
}

TEST_F(SplitModel, WrongTotalOfTensorsIsRefused) {
    write_part(0, 2, "a", 5);
    write_part(1, 2, "b", 5);
    expect_error(ErrorKind::bad_input, {"split.tensors.count", "5", "2 found"}, [&] { Gguf::open(part(0)); });
}

}  // namespace
}  // namespace greenroom::quant
