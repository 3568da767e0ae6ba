// The GGUF reader on broken and hostile files: always an Error that says what is wrong, never a crash. Run
// under the address and undefined sanitizers, too; tests/fuzz goes on from here.

#include "quant/base/error.h"
#include "quant/gguf.h"
#include "quant/gguf_writer.h"
#include "tests/support/errors.h"
#include "tests/support/gguf_image.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace greenroom::quant {
namespace {

using test::expect_error;
using test::TempDir;
using Image = std::vector<std::byte>;

Image mini_image() { return test::read_file(test::test_data("oracle/mini/deepseek2/model-bf16.gguf")); }

// A copy of exactly `size` bytes on the heap, so that the address sanitizer sees a read past its end.
Gguf parse(const Image& image) {
    static std::vector<std::unique_ptr<std::byte[]>> kept;  // views point into it
    kept.clear();
    kept.push_back(std::make_unique<std::byte[]>(image.size()));
    std::copy(image.begin(), image.end(), kept.back().get());
    return Gguf::parse(kept.back().get(), image.size(), "broken.gguf");
}

template <class T>
void poke(Image& image, std::size_t offset, T value) {
    std::memcpy(image.data() + offset, &value, sizeof value);
}

// One metadata entry and one tensor, at offsets that the tests below know.
//   0 magic, 4 version, 8 tensor count, 16 entry count, 24 key length, 32 "key", 35 type, 39 u32 value,
//   43 name length, 51 "w", 52 n_dims, 56 dim 0, 64 dim 1, 72 type, 76 offset, 84 padding to 96, data: 8
//   floats.
Image small_image() {
    static const float values[8] = {};
    GgufWriter writer;
    writer.add_u32("key", 7);
    writer.add_tensor("w", {Type::F32, 2, {4, 2, 1, 1}, reinterpret_cast<const std::byte*>(values)});
    return writer.serialize();
}

TEST(GgufHostile, SmallImageIsLaidOutAsTheTestsAssume) {
    const Image image = small_image();
    EXPECT_EQ(image.size(), 128U);
    const Gguf gguf = parse(image);
    EXPECT_EQ(gguf.require_uint("key"), 7U);
    EXPECT_EQ(gguf.find_tensor("w")->file_offset, 96U);
}

struct Mutation {
    const char* what;
    std::function<void(Image&)> apply;
    ErrorKind kind;
    std::vector<std::string_view> message;
};

TEST(GgufHostile, EveryMutationGetsItsMessage) {
    constexpr std::uint64_t kHuge = 0xffffffffffffffffU;
    const std::vector<Mutation> mutations = {
        {"other magic",
         [](Image& i) { poke(i, 0, std::uint32_t{0x04034b50}); },
         ErrorKind::bad_input,
         {"not a GGUF file", "50 4b 03 04", "47 47 55 46"}},
        {"version 1",
         [](Image& i) { poke(i, 4, std::uint32_t{1}); },
         ErrorKind::unsupported,
         {"version 1", "2 and 3", "Convert"}},
        {"version 4",
         [](Image& i) { poke(i, 4, std::uint32_t{4}); },
         ErrorKind::unsupported,
         {"version 4", "2 and 3"}},
        {"version 0", [](Image& i) { poke(i, 4, std::uint32_t{0}); }, ErrorKind::unsupported, {"version 0"}},
        {"big-endian",
         [](Image& i) { poke(i, 4, std::uint32_t{0x03000000}); },
         ErrorKind::unsupported,
         {"big-endian"}},
        {"absurd tensor count",
         [](Image& i) { poke(i, 8, kHuge); },
         ErrorKind::bad_input,
         {"tensor count 18446744073709551615"}},
        {"absurd entry count",
         [](Image& i) { poke(i, 16, kHuge / 2); },
         ErrorKind::bad_input,
         {"metadata count 9223372036854775807"}},
        {"one tensor too many",
         [](Image& i) { poke(i, 8, std::uint64_t{2}); },
         ErrorKind::bad_input,
         {"tensor"}},
        {"absurd key length",
         [](Image& i) { poke(i, 24, kHuge); },
         ErrorKind::bad_input,
         {"metadata key", "at byte 32", "18446744073709551615"}},
        {"empty key",
         [](Image& i) { poke(i, 24, std::uint64_t{0}); },
         ErrorKind::bad_input,
         {"metadata key", "0 characters"}},
        {"unknown value type",
         [](Image& i) { poke(i, 35, std::uint32_t{13}); },
         ErrorKind::bad_input,
         {"metadata key", "type 13"}},
        {"bool of 7",
         [](Image& i) { poke(i, 35, std::uint32_t{7}); },
         ErrorKind::bad_input,
         {"metadata key", "bool of value 7"}},
        {"array with a huge count",
         [](Image& i) {
             poke(i, 35, std::uint32_t{9});
             poke(i, 39, std::uint32_t{4});
             poke(i, 43, kHuge);
         },
         ErrorKind::bad_input,
         {"array of 18446744073709551615 u32"}},
        {"array of arrays of arrays …",
         [](Image& i) {
             poke(i, 35, std::uint32_t{9});
             i.resize(39);
             for (int d = 0; d < 6; ++d) {
                 const std::size_t at = i.size();
                 i.resize(at + 12);
                 poke(i, at, std::uint32_t{9});
                 poke(i, at + 4, std::uint64_t{1});
             }
         },
         ErrorKind::unsupported,
         {"nested deeper"}},
        {"no dimensions",
         [](Image& i) { poke(i, 52, std::uint32_t{0}); },
         ErrorKind::bad_input,
         {"tensor w", "0 dimensions"}},
        {"five dimensions",
         [](Image& i) { poke(i, 52, std::uint32_t{5}); },
         ErrorKind::bad_input,
         {"tensor w", "5 dimensions"}},
        {"dimension 0",
         [](Image& i) { poke(i, 56, std::uint64_t{0}); },
         ErrorKind::bad_input,
         {"tensor w", "dimension 0 is 0"}},
        {"negative dimension",
         [](Image& i) { poke(i, 64, kHuge); },
         ErrorKind::bad_input,
         {"tensor w", "dimension 1"}},
        {"product overflows",
         [](Image& i) {
             poke(i, 56, std::uint64_t{1} << 40);
             poke(i, 64, std::uint64_t{1} << 40);
         },
         ErrorKind::bad_input,
         {"tensor w", "product below 2^59"}},
        {"larger than the file",
         [](Image& i) { poke(i, 64, std::uint64_t{3}); },
         ErrorKind::bad_input,
         {"tensor w", "48 bytes", "32 bytes from byte 96", "Truncated"}},
        {"unknown tensor type",
         [](Image& i) { poke(i, 72, std::uint32_t{4}); },
         ErrorKind::unsupported,
         {"tensor w", "type 4"}},
        {"row is no whole block",
         [](Image& i) { poke(i, 72, std::uint32_t{12}); },
         ErrorKind::bad_input,
         {"tensor w", "Q4_K", "row length 4", "multiple of 256"}},
        {"unaligned offset",
         [](Image& i) { poke(i, 76, std::uint64_t{4}); },
         ErrorKind::bad_input,
         {"tensor w", "offset 4", "alignment 32"}},
        {"offset beyond the file",
         [](Image& i) { poke(i, 76, std::uint64_t{1} << 20); },
         ErrorKind::bad_input,
         {"tensor w", "outside the file"}},
        {"offset that wraps around",
         [](Image& i) { poke(i, 76, kHuge - 31); },
         ErrorKind::bad_input,
         {"tensor w", "outside the file"}},
    };
    for (const Mutation& mutation : mutations) {
        SCOPED_TRACE(mutation.what);
        Image image = small_image();
        mutation.apply(image);
        const auto error = test::error_of([&] { parse(image); });
        if (!error) continue;
        EXPECT_EQ(static_cast<int>(error->kind()), static_cast<int>(mutation.kind)) << error->what();
        EXPECT_NE(std::string_view(error->what()).find("broken.gguf"), std::string_view::npos);
        for (const std::string_view text : mutation.message)
            EXPECT_NE(std::string_view(error->what()).find(text), std::string_view::npos)
                << error->what() << " lacks " << text;
    }
}

TEST(GgufHostile, BadAlignmentIsRefused) {
    for (const std::uint32_t alignment : {0U, 3U, 48U, 0x80000000U}) {
        GgufWriter writer;
        writer.add_u32("general.alignment", alignment);
        const Image image = writer.serialize();
        expect_error(ErrorKind::bad_input, {"general.alignment", std::to_string(alignment), "power of two"},
                     [&] { parse(image); });
    }
}

TEST(GgufHostile, DuplicateKeysAndTensorsAreRefused) {
    GgufWriter keys;
    keys.add_u32("twice", 1);
    keys.add_u32("twice", 2);
    expect_error(ErrorKind::bad_input, {"key twice", "occurs twice"}, [&] { parse(keys.serialize()); });

    // The writer refuses to write a tensor twice; the second name is changed in the image: "u" and "w".
    GgufWriter tensors;
    const float value = 0;
    const TensorView view{Type::F32, 1, {1, 1, 1, 1}, reinterpret_cast<const std::byte*>(&value)};
    tensors.add_tensor("u", view);
    tensors.add_tensor("w", view);
    expect_error(ErrorKind::bad_input, {"tensor w", "twice"}, [&] { tensors.add_tensor("w", view); });
    Image image = tensors.serialize();
    constexpr std::size_t kFirstName = 24 + 8;
    ASSERT_EQ(image[kFirstName], std::byte{'u'});
    image[kFirstName] = std::byte{'w'};
    expect_error(ErrorKind::bad_input, {"tensor w", "occurs twice"}, [&] { parse(image); });
}

TEST(GgufHostile, TensorsThatOverlapAreRefused) {
    const std::array<float, 16> values{};
    const TensorView view{Type::F32, 1, {16, 1, 1, 1}, reinterpret_cast<const std::byte*>(values.data())};
    GgufWriter writer;
    writer.add_tensor("u", view);
    writer.add_tensor("w", view);
    Image image = writer.serialize();
    EXPECT_NO_THROW(parse(image));
    // The second one's offset; rows of the table: name, number of dimensions, one dimension, type, offset.
    constexpr std::size_t kRow = 8 + 1 + 4 + 8 + 4 + 8;
    constexpr std::size_t kOffset = 24 + 2 * kRow - 8;
    for (const std::uint64_t offset : {0U, 32U}) {
        poke(image, kOffset, offset);
        expect_error(ErrorKind::bad_input, {"tensor w", "in tensor u"}, [&] { parse(image); });
    }
}

TEST(GgufHostile, ControlCharactersOfAKeyDoNotReachTheTerminal) {
    GgufWriter writer;
    writer.add_u32("\x1b[31mred", 1);
    writer.add_u32("\x1b[31mred", 2);
    const auto error = test::error_of([&] { parse(writer.serialize()); });
    ASSERT_TRUE(error);
    EXPECT_EQ(std::string_view(error->what()).find('\x1b'), std::string_view::npos) << error->what();
}

TEST(GgufHostile, TruncationAtEveryKilobyteIsAnError) {
    const Image whole = mini_image();
    for (std::size_t size = 0; size < whole.size(); size += 1024) {
        const Image cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
        const auto error = test::error_of([&] { parse(cut); });
        if (error) {
            EXPECT_EQ(static_cast<int>(error->kind()), static_cast<int>(ErrorKind::bad_input)) << size;
        }
    }
}

TEST(GgufHostile, TruncationAtEveryByteOfASmallFileIsAnError) {
    const Image whole = small_image();
    for (std::size_t size = 0; size < whole.size(); ++size) {
        SCOPED_TRACE(size);
        test::error_of(
            [&] { parse(Image(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size))); });
    }
}

TEST(GgufHostile, FlippedBytesNeverCrash) {
    const Image whole = mini_image();
    const std::size_t header_bytes =
        Gguf::parse(whole.data(), whole.size(), "image").tensors().front().file_offset;
    constexpr unsigned kSeed = 20261122;
    std::mt19937 random(kSeed);
    int n_errors = 0;
    constexpr int kFlips = 2000;
    for (int n = 0; n < kFlips; ++n) {
        Image image = whole;
        const std::size_t at = random() % header_bytes;
        image[at] ^= static_cast<std::byte>(1 + random() % 255);
        try {
            parse(image);
        } catch (const Error&) {
            ++n_errors;
        }
    }
    EXPECT_GT(n_errors, 0) << "seed " << kSeed;
}

TEST(GgufHostile, ThingsThatAreNoFileAreNamed) {
    const TempDir dir;
    expect_error(ErrorKind::io, {"missing.gguf", "No such file"},
                 [&] { Gguf::open(dir.file("missing.gguf")); });
    expect_error(ErrorKind::bad_input, {"is a directory"}, [&] { Gguf::open(dir.path().string()); });
    std::ofstream(dir.file("empty.gguf")).close();
    expect_error(ErrorKind::bad_input, {"empty.gguf", "0 bytes"},
                 [&] { Gguf::open(dir.file("empty.gguf")); });
    std::ofstream(dir.file("text.gguf")) << "{\"hello\": \"world\"}";
    expect_error(ErrorKind::bad_input, {"text.gguf", "not a GGUF file"},
                 [&] { Gguf::open(dir.file("text.gguf")); });
    ASSERT_EQ(::mkfifo(dir.file("fifo.gguf").c_str(), 0600), 0);
    expect_error(ErrorKind::bad_input, {"fifo.gguf", "not a regular file"},
                 [&] { Gguf::open(dir.file("fifo.gguf")); });
}

}  // namespace
}  // namespace greenroom::quant
