// The GGUF writer: what it writes is what the reader finds, and it loses nothing when the disk is full.

#include "quant/gguf_writer.h"

#include "quant/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/gguf_image.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

namespace greenroom::quant {
namespace {

// Every entry and tensor of the file, written again.
std::vector<std::byte> rewrite(const Gguf& gguf, std::uint64_t alignment) {
    GgufWriter writer(alignment);
    for (const GgufEntry& entry : gguf.entries())
        if (entry.key != "general.alignment") writer.add(entry);
    for (const GgufTensor& tensor : gguf.tensors()) writer.add_tensor(tensor.name, tensor.view);
    return writer.serialize();
}

TEST(GgufWriter, RewritesAConvertedModelByteForByte) {
    const auto path = test::test_data("oracle/mini/deepseek2/model-bf16.gguf");
    const Gguf gguf = Gguf::open(path.string());
    EXPECT_EQ(rewrite(gguf, 32), test::read_file(path));
}

TEST(GgufWriter, AnyAlignmentIsReadBack) {
    const Gguf gguf = Gguf::open(test::test_data("oracle/mini/kimi-k2/model-bf16.gguf").string());
    for (const std::uint64_t alignment : {8U, 64U, 4096U}) {
        const std::vector<std::byte> image = rewrite(gguf, alignment);
        const Gguf again = Gguf::parse(image.data(), image.size(), "again");
        EXPECT_EQ(again.alignment(), alignment);
        ASSERT_EQ(again.tensors().size(), gguf.tensors().size());
        for (std::size_t i = 0; i < gguf.tensors().size(); ++i) {
            const GgufTensor& a = gguf.tensors()[i];
            const GgufTensor& b = again.tensors()[i];
            EXPECT_EQ(a.name, b.name);
            EXPECT_EQ(b.file_offset % alignment, 0U);
            EXPECT_EQ(std::memcmp(a.view.data, b.view.data, static_cast<std::size_t>(a.view.bytes())), 0)
                << a.name;
        }
    }
}

TEST(GgufWriter, WritesTheSameToAFile) {
    const test::TempDir dir;
    const std::string numbers[] = {"one", "two"};
    const std::int32_t ids[] = {1, -2};
    const float floats[] = {0.5F};
    GgufWriter writer;
    writer.add_strings("strings", numbers);
    writer.add_i32s("ids", ids);
    writer.add_f32s("floats", floats);
    writer.add_bool("flag", true);
    writer.add_u64("big", 1ULL << 40);
    writer.add_tensor("t", {Type::F32, 1, {1, 1, 1, 1}, reinterpret_cast<const std::byte*>(floats)});
    writer.write(dir.file("out.gguf"));
    EXPECT_EQ(test::read_file(dir.file("out.gguf")), writer.serialize());
    const Gguf gguf = Gguf::open(dir.file("out.gguf"));
    EXPECT_EQ((*gguf.find_array("strings"))[1].as_string(), "two");
    EXPECT_EQ((*gguf.find_array("ids"))[1].as_int(), -2);
    EXPECT_EQ((*gguf.find_array("floats"))[0].as_double(), 0.5);
    EXPECT_EQ(gguf.find_uint("big"), 1ULL << 40);
}

TEST(GgufWriter, FullDiskIsAnError) {
    if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
    const test::TempDir dir;
    std::filesystem::create_symlink("/dev/full", dir.file("full.gguf"));
    GgufWriter writer;
    writer.add_u32("key", 1);
    test::expect_error(ErrorKind::io, {"full.gguf", "cannot write", "No space left"},
                       [&] { writer.write(dir.file("full.gguf")); });
    test::expect_error(ErrorKind::io, {"cannot create"},
                       [&] { writer.write(dir.file("no/such/folder.gguf")); });
}

}  // namespace
}  // namespace greenroom::quant
