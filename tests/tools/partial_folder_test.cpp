// Folders whose files appear together.

#include "tools/partial_folder.h"

#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>

namespace greenroom::tools {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 3> kNames{"a", "b", "c"};

class PartialFolders : public testing::Test {
  protected:
    std::string path(const std::string& name = "") const { return temp_.file("x/y") + "/" + name; }

    static void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

    std::string text_of(const std::string& name) const {
        std::ifstream in(path(name));
        return {std::istreambuf_iterator<char>(in), {}};
    }

    void expect_refusal(std::string_view named) const {
        test::expect_error(ErrorKind::bad_input, {path(), named},
                           [&] { const PartialFolder folder(path(), kNames); });
    }

    const test::TempDir temp_;
};

TEST_F(PartialFolders, FilesAppearWhenAllAreWritten) {
    PartialFolder folder(path(), kNames);
    write(folder.partial_path() + "/b", "1");
    write(folder.partial_path() + "/a", "2");
    EXPECT_FALSE(fs::exists(path("b")));
    folder.commit();
    EXPECT_EQ(text_of("a") + text_of("b"), "21");
    EXPECT_EQ(std::distance(fs::directory_iterator(path()), {}), 2);
}

TEST_F(PartialFolders, WhatFailsLeavesNothingBehind) {
    {
        const PartialFolder folder(path(), kNames);
        write(folder.partial_path() + "/a", "1");
    }
    EXPECT_FALSE(fs::exists(path()));
}

TEST_F(PartialFolders, OldFilesStayUntilTheNewOnesAreComplete) {
    fs::create_directories(path());
    write(path("a"), "old");
    write(path("c"), "old");
    {
        const PartialFolder folder(path(), kNames);
        write(folder.partial_path() + "/a", "new");
    }
    EXPECT_EQ(text_of("a") + text_of("c"), "oldold");
    PartialFolder folder(path(), kNames);
    write(folder.partial_path() + "/a", "new");
    folder.commit();
    EXPECT_EQ(text_of("a"), "new");
    EXPECT_FALSE(fs::exists(path("c")));
}

TEST_F(PartialFolders, OtherFilesAreNotTouched) {
    fs::create_directories(path());
    write(path("a"), "old");
    write(path("letter"), "mine");
    expect_refusal("letter");
    EXPECT_EQ(text_of("a") + text_of("letter"), "oldmine");
    fs::remove(path("letter"));
    fs::create_directories(path("b"));
    expect_refusal("found b");
}

TEST_F(PartialFolders, WhatAKilledProgramHasLeftIsRemovedAndNothingElse) {
    fs::create_directories(path("partial"));
    write(path("partial/a"), "half");
    {
        PartialFolder folder(path(), kNames);
        folder.commit();
    }
    EXPECT_TRUE(fs::is_empty(path()));
    fs::create_directories(path("partial"));
    write(path("partial/letter"), "mine");
    expect_refusal("partial/letter");
    EXPECT_EQ(text_of("partial/letter"), "mine");
}

TEST_F(PartialFolders, PlacesWhereNoFolderCanBeAreSaid) {
    test::expect_error(ErrorKind::io, {"/dev/null/x"},
                       [] { const PartialFolder folder("/dev/null/x", kNames); });
    write(temp_.file("x"), "a file");
    test::expect_error(ErrorKind::io, {path()}, [&] { const PartialFolder folder(path(), kNames); });
}

TEST_F(PartialFolders, RoomIsCheckedBeforeTheWork) {
    const PartialFolder folder(path(), kNames);
    folder.check_room(1);
    test::expect_error(ErrorKind::io, {path(), "room"},
                       [&] { folder.check_room(std::numeric_limits<std::int64_t>::max()); });
}

}  // namespace
}  // namespace greenroom::tools
