// .npy files: what is written is read back, in any order, and a file is whole or not there.

#include "tools/npy_writer.h"

#include "tests/support/errors.h"
#include "tests/support/npy.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

namespace greenroom::tools {
namespace {

using Shape2 = std::array<std::int64_t, 2>;

TEST(NpyWriter, ValuesInAnyOrderAreReadBack) {
    const test::TempDir folder;
    std::vector<std::int32_t> values(12);
    std::iota(values.begin(), values.end(), -3);
    NpyWriter<std::int32_t> writer(folder.file("x.npy"), Shape2{3, 4});
    writer.write_at(8, std::span(values).subspan(8));
    writer.write_at(0, std::span(values).first(8));
    writer.commit();
    const auto array = test::load_npy<std::int32_t>(folder.file("x.npy"));
    EXPECT_EQ(array.shape, (std::vector<std::int64_t>{3, 4}));
    EXPECT_EQ(array.values, values);
}

TEST(NpyWriter, HeaderIsWhatNumPyWrites) {
    const test::TempDir folder;
    for (const std::int64_t n : {1, 1000}) {
        NpyWriter<float> writer(folder.file("x.npy"), std::array<std::int64_t, 1>{n});
        writer.commit();
        std::ifstream in(folder.file("x.npy"), std::ios::binary);
        std::string header(128, '\0');
        in.read(header.data(), 128);
        EXPECT_TRUE(header.starts_with(std::string("\x93NUMPY\x01\x00", 8)));
        EXPECT_NE(
            header.find("{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(n) + ",), }"),
            std::string::npos);
        EXPECT_EQ(header.find('\n') % 64, 63U);
        EXPECT_EQ(std::filesystem::file_size(folder.file("x.npy")) % 64, n * sizeof(float) % 64);
    }
}

TEST(NpyWriter, FileIsThereOnlyAfterCommit) {
    const test::TempDir folder;
    const std::string path = folder.file("x.npy");
    { NpyWriter<float> forgotten(path, Shape2{2, 2}); }
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
    NpyWriter<float> writer(path, Shape2{2, 2});
    EXPECT_FALSE(std::filesystem::exists(path));
    writer.commit();
    EXPECT_TRUE(std::filesystem::exists(path));
}

TEST(NpyWriter, OldFileStaysUntilTheNewOneIsComplete) {
    const test::TempDir folder;
    const std::string path = folder.file("x.npy");
    std::ofstream(path) << "old";
    { NpyWriter<float> forgotten(path, Shape2{2, 2}); }
    EXPECT_EQ(std::filesystem::file_size(path), 3U);
    NpyWriter<float>(path, Shape2{2, 2}).commit();
    EXPECT_EQ(test::load_npy<float>(path).values, std::vector<float>(4));
}

TEST(NpyWriter, SymbolicLinkStaysALink) {
    const test::TempDir folder;
    std::ofstream(folder.file("target.npy")) << "old";
    std::filesystem::create_symlink(folder.file("target.npy"), folder.file("link.npy"));
    NpyWriter<float>(folder.file("link.npy"), Shape2{1, 1}).commit();
    EXPECT_TRUE(std::filesystem::is_symlink(folder.file("link.npy")));
    EXPECT_EQ(test::load_npy<float>(folder.file("target.npy")).values.size(), 1U);
}

TEST(NpyWriter, RefusalsOfTheSystemAreIoErrors) {
    const test::TempDir folder;
    const auto create = [](const std::string& path, std::int64_t n) { NpyWriter<float>(path, Shape2{n, 1}); };
    test::expect_error(ErrorKind::io, {"no/x.npy"}, [&] { create(folder.file("no/x.npy"), 1); });
    test::expect_error(ErrorKind::io, {"directory"}, [&] { create(folder.path().string(), 1); });
    // Four exabytes: no disk has them.
    test::expect_error(ErrorKind::io, {"x.npy", "bytes"},
                       [&] { create(folder.file("x.npy"), std::int64_t{1} << 60); });
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace greenroom::tools
