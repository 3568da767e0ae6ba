#include "tests/support/paths.h"

#include <stdlib.h>

#include <cstdlib>
#include <stdexcept>
#include <system_error>

namespace greenroom::test {

std::filesystem::path source_folder() { return GREENROOM_SOURCE_DIR; }

std::string demo_model_file() { return (source_folder() / "models/tiny-moe-Q4_K_M.gguf").string(); }

std::filesystem::path test_data(const std::string& relative) {
    return std::filesystem::path(GREENROOM_TEST_DATA) / relative;
}

std::optional<std::filesystem::path> oracle_path(const std::string& relative) {
    const char* root = std::getenv("GREENROOM_ORACLES");
    const std::filesystem::path path =
        std::filesystem::path(root != nullptr ? root : GREENROOM_DEFAULT_ORACLES) / relative;
    if (!std::filesystem::exists(path)) return std::nullopt;
    return path;
}

TempDir::TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "greenroom-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr)
        throw std::runtime_error("cannot make a temporary folder " + pattern);
    path_ = pattern;
}

TempDir::~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

}  // namespace greenroom::test
