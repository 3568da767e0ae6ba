// The sources themselves, read from the tree that this program was built from.

#include "tests/structure/include_rules.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

namespace greenroom::test {
namespace {

namespace fs = std::filesystem;

constexpr std::ptrdiff_t kMaxLines = 800;
constexpr std::uintmax_t kMaxTrackedBytes = 50'000'000;

struct Source {
    std::string path;  // from the root of the tree
    std::string text;
};

std::vector<Source> load_sources() {
    const fs::path root = test::source_folder();
    std::vector<Source> sources;
    for (const char* folder : {"quant", "cpu", "gpu", "cache", "runtime", "tools", "tests"}) {
        for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / folder)) {
            const std::string extension = entry.path().extension().string();
            if (extension != ".h" && extension != ".cpp" && extension != ".cu" && extension != ".cuh")
                continue;
            std::ifstream in(entry.path(), std::ios::binary);
            sources.push_back({fs::relative(entry.path(), root).generic_string(),
                               {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()}});
        }
    }
    return sources;
}

TEST(Tree, IncludesFollowTheArrows) {
    const std::vector<Source> sources = load_sources();
    ASSERT_FALSE(sources.empty());
    for (const Source& source : sources)
        for (const std::string& broken : broken_include_rules(source.path, source.text))
            ADD_FAILURE() << broken;
}

TEST(Tree, KernelsAreForBothCompilers) {
    for (const Source& source : load_sources())
        for (const std::string& broken : broken_kernel_rules(source.path, source.text))
            ADD_FAILURE() << broken;
}

TEST(Tree, HeadersAreGuardedAndLeaveNamespacesClosed) {
    for (const Source& source : load_sources()) {
        if (!source.path.ends_with(".h") && !source.path.ends_with(".cuh")) continue;
        EXPECT_NE(source.text.find("#pragma once\n"), std::string::npos) << source.path;
        EXPECT_EQ(source.text.find("\nusing namespace "), std::string::npos) << source.path;
    }
}

// A longer file holds two ideas. Constant tables (*_tables.*) are data.
TEST(Tree, FilesStayShort) {
    for (const Source& source : load_sources()) {
        if (fs::path(source.path).stem().string().ends_with("_tables")) continue;
        const auto n_lines = std::count(source.text.begin(), source.text.end(), '\n');
        EXPECT_LE(n_lines, kMaxLines) << source.path << ": look for the second file inside";
    }
}

TEST(Tree, CloneStaysSmall) {
    const std::string command = "git -C '" + test::source_folder().string() + "' ls-files -z 2>/dev/null";
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
    ASSERT_NE(pipe, nullptr);
    std::string path;
    std::uintmax_t n_files = 0;
    std::uintmax_t tracked_bytes = 0;
    for (int c = std::fgetc(pipe.get()); c != EOF; c = std::fgetc(pipe.get())) {
        if (c != '\0') {
            path.push_back(static_cast<char>(c));
            continue;
        }
        std::error_code missing;  // deleted, and not yet committed
        const std::uintmax_t bytes = fs::file_size(test::source_folder() / path, missing);
        if (!missing) tracked_bytes += bytes;
        ++n_files;
        path.clear();
    }
    if (n_files == 0) GTEST_SKIP() << "no git, or this is not a clone";
    EXPECT_LT(tracked_bytes, kMaxTrackedBytes);
}

}  // namespace
}  // namespace greenroom::test
