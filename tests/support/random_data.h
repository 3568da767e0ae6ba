#pragma once

// Numbers for tests: reproducible, and with some outliers, since evenly spread values hide mistakes of scale.

#include <cstdint>
#include <random>
#include <vector>

namespace greenroom::test {

inline std::vector<float> random_floats(std::int64_t n, unsigned seed, float spread = 1.0F) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0F, spread);
    std::vector<float> values(static_cast<std::size_t>(n));
    for (float& v : values) {
        v = normal(random);
        if (random() % 64 == 0) v *= 16.0F;
    }
    return values;
}

}  // namespace greenroom::test
