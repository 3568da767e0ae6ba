#pragma once

// The fuzzers' seeds, for tests that replay them without a fuzzer.

#include "tests/support/paths.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

// Of the fuzz target that the test program links.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace greenroom::test {

struct Seed {
    std::string name;
    std::vector<std::uint8_t> bytes;
};

// tests/fuzz/corpus/FOLDER, by name.
inline std::vector<Seed> load_seeds(const std::string& folder) {
    std::vector<Seed> seeds;
    for (const auto& entry :
         std::filesystem::directory_iterator(test::source_folder() / "tests/fuzz/corpus" / folder)) {
        std::ifstream in(entry.path(), std::ios::binary);
        seeds.push_back({entry.path().filename().string(),
                         {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()}});
    }
    std::sort(seeds.begin(), seeds.end(), [](const Seed& a, const Seed& b) { return a.name < b.name; });
    return seeds;
}

// Hands over the first `size` bytes, in memory of just that size, so that under the address sanitizer one
// byte read too far is seen.
inline void run_target(const std::vector<std::uint8_t>& bytes, std::size_t size) {
    const std::vector<std::uint8_t> image(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    LLVMFuzzerTestOneInput(image.data(), image.size());
}

inline void run_cut_anywhere(const Seed& seed) {
    for (std::size_t size = 0; size <= seed.bytes.size(); ++size) run_target(seed.bytes, size);
}

inline void run_with_any_byte_changed(Seed seed) {
    for (std::uint8_t& byte : seed.bytes) {
        const std::uint8_t original = byte;
        for (const unsigned mask : {0xFFU, 0x01U, 0x80U}) {
            byte = static_cast<std::uint8_t>(original ^ mask);
            run_target(seed.bytes, seed.bytes.size());
        }
        byte = original;
    }
}

}  // namespace greenroom::test
