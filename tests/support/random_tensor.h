#pragma once

// Weights for tests: random bytes of any type.

#include "quant/base/tensor_view.h"
#include "quant/decode.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace greenroom::test {

// A stack of matrices of random bytes in the type; a row whose scales are not tame is drawn again.
struct RandomTensor {
    RandomTensor(quant::Type type, std::int64_t n_in, std::int64_t n_out, std::int64_t n_stack,
                 unsigned seed) {
        view = {type, 3, {n_in, n_out, n_stack, 1}, nullptr};
        bytes.resize(static_cast<std::size_t>(view.bytes()));
        view.data = bytes.data();
        std::mt19937 random(seed);
        std::vector<float> row(static_cast<std::size_t>(n_in));
        const auto block_bytes = static_cast<std::int64_t>(quant::type_info(type).block_bytes);
        const auto block_values = quant::type_info(type).block_values;
        for (std::int64_t at = 0; at < view.bytes(); at += block_bytes) {
            std::byte* block = bytes.data() + at;
            const auto tame = [&] {
                quant::decode_row(type, block, row.data(), block_values);
                for (int i = 0; i < block_values; ++i)
                    if (!(std::abs(row[static_cast<std::size_t>(i)]) < 1e4F)) return false;
                return true;
            };
            do {
                for (std::int64_t i = 0; i < block_bytes; ++i) block[i] = static_cast<std::byte>(random());
            } while (!tame());
        }
    }

    // Row after row.
    std::vector<double> decoded() const {
        std::vector<float> row(static_cast<std::size_t>(view.row_values()));
        std::vector<double> all;
        for (std::int64_t r = 0; r < view.n_rows(); ++r) {
            quant::decode_row(view.type, view.row(r), row.data(), view.row_values());
            all.insert(all.end(), row.begin(), row.end());
        }
        return all;
    }

    std::vector<std::byte> bytes;
    TensorView view;
};

}  // namespace greenroom::test
