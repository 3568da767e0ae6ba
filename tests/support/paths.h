#pragma once

// Where tests find data and may write.

#include <filesystem>
#include <optional>
#include <string>

namespace greenroom::test {

// The root of the clone. (Here and not as a definition for all tests: what they compile to is then the same
// in every clone, and can be shared by ccache.)
std::filesystem::path source_folder();

// The small model in models/.
std::string demo_model_file();

// A file or folder under tests/data/, which every clone has.
std::filesystem::path test_data(const std::string& relative);

// A file or folder of the larger reference data: $GREENROOM_ORACLES, by default ../shared beside the clone.
// Empty where it is missing: the test then skips and says so, with GREENROOM_ORACLE_OR_SKIP.
std::optional<std::filesystem::path> oracle_path(const std::string& relative);

// A fresh folder for this test, removed by the destructor.
class TempDir {
  public:
    TempDir();
    ~TempDir();
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;

    const std::filesystem::path& path() const noexcept { return path_; }
    std::string file(const std::string& name) const { return (path_ / name).string(); }

  private:
    std::filesystem::path path_;
};

}  // namespace greenroom::test

// Declares `variable` as the path of reference data, or skips the test.
#define GREENROOM_ORACLE_OR_SKIP(variable, relative)                                        \
    const auto variable##_found = ::greenroom::test::oracle_path(relative);                 \
    if (!variable##_found)                                                                  \
        GTEST_SKIP() << "no " << (relative)                                                 \
                     << " under GREENROOM_ORACLES (by default ../shared beside the clone)"; \
    const std::filesystem::path& variable = *variable##_found
