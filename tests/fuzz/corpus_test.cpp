// The fuzzer's seeds, without the fuzzer: as they are, cut at every length, with every byte changed. Each
// image is copied to memory of just its size, so that under the address sanitizer one byte read too far is
// seen.

#include "quant/base/error.h"
#include "quant/gguf.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace greenroom::quant {
namespace {

struct Seed {
    std::string name;
    std::vector<std::uint8_t> bytes;
};

std::vector<Seed> load_seeds() {
    std::vector<Seed> seeds;
    for (const auto& entry :
         std::filesystem::directory_iterator(GREENROOM_SOURCE_DIR "/tests/fuzz/corpus/gguf")) {
        std::ifstream in(entry.path(), std::ios::binary);
        seeds.push_back({entry.path().filename().string(),
                         {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()}});
    }
    return seeds;
}

void read_all(const std::vector<std::uint8_t>& bytes, std::size_t size) {
    const std::vector<std::uint8_t> image(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    LLVMFuzzerTestOneInput(image.data(), image.size());
}

TEST(GgufCorpus, BadSeedsAreRefusedAndOthersRead) {
    const std::vector<Seed> seeds = load_seeds();
    ASSERT_GE(seeds.size(), 10U);
    for (const Seed& seed : seeds) {
        SCOPED_TRACE(seed.name);
        const auto* data = reinterpret_cast<const std::byte*>(seed.bytes.data());
        if (seed.name.starts_with("bad_"))
            EXPECT_THROW(Gguf::parse(data, seed.bytes.size(), seed.name), Error);
        else
            EXPECT_NO_THROW(Gguf::parse(data, seed.bytes.size(), seed.name));
    }
}

TEST(GgufCorpus, SeedsCutAnywhereAreReadOrRefused) {
    for (const Seed& seed : load_seeds())
        for (std::size_t size = 0; size <= seed.bytes.size(); ++size) read_all(seed.bytes, size);
}

TEST(GgufCorpus, SeedsWithAnyByteChangedAreReadOrRefused) {
    for (Seed& seed : load_seeds()) {
        for (std::uint8_t& byte : seed.bytes) {
            const std::uint8_t original = byte;
            for (const unsigned mask : {0xFFU, 0x01U, 0x80U}) {
                byte = static_cast<std::uint8_t>(original ^ mask);
                read_all(seed.bytes, seed.bytes.size());
            }
            byte = original;
        }
    }
}

}  // namespace
}  // namespace greenroom::quant
