#include "cpu/row_run.h"

#include "cpu/kernels.h"
#include "cpu/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace greenroom::cpu {
namespace {

TEST(ForEachRun, EveryRowComesOnceWhateverTheThreadsAndVectors) {
    for (const int n_threads : {1, 2, 3, 5}) {
        ThreadTeam team(n_threads);
        for (const std::int64_t n_vectors : {1, 4, 5, 512})
            for (const std::int64_t n_matrices : {0, 1, 3, 8})
                for (const std::int64_t n_rows : {1, 31, 32, 33, 500, 1024}) {
                    std::vector<std::atomic<int>> n_calls(static_cast<std::size_t>(n_matrices * n_rows));
                    for_each_run(team, n_matrices, n_rows, n_vectors,
                                 [&](std::int64_t matrix, std::int64_t first, std::int64_t last, int thread) {
                                     ASSERT_TRUE(thread >= 0 && thread < n_threads);
                                     ASSERT_TRUE(0 <= first && first % kTileRows == 0 && last <= n_rows);
                                     for (std::int64_t row = first; row < last; ++row)
                                         ++n_calls[static_cast<std::size_t>(matrix * n_rows + row)];
                                 });
                    for (const auto& n : n_calls)
                        ASSERT_EQ(n, 1) << n_matrices << " of " << n_rows << " rows, " << n_threads
                                        << " threads, " << n_vectors << " vectors";
                }
    }
}

TEST(VectorParts, AreNoMoreThanNeedBe) {
    for (const std::int64_t most : {32, 224, 256})
        for (std::int64_t n = 0; n < 3000; ++n) {
            const VectorParts parts(n, most);
            ASSERT_EQ(parts.n_parts(), std::max<std::int64_t>(1, (n + most - 1) / most));
            ASSERT_EQ(parts.first(0), 0);
            ASSERT_EQ(parts.first(parts.n_parts()), n);
            for (std::int64_t part = 0; part < parts.n_parts(); ++part) {
                ASSERT_EQ(parts.first(part) % PackedVectors::kVectors, 0) << n;
                ASSERT_LE(parts.size(part), most) << n;
                ASSERT_TRUE(n == 0 || parts.size(part) > 0) << n;
            }
        }
}

// Scratch is allocated for the longest rows of a model and serves all others.
TEST(TileFloats, WhatLongRowsNeedIsEnoughForShorterOnes) {
    std::int64_t before = 0;
    for (std::int64_t n = 256; n <= 65536; n += 256) {
        const std::int64_t floats = tile_floats(n);
        EXPECT_GE(floats, before) << n;
        if (packs_vectors(kernels())) {
            const std::int64_t vectors = most_packed_vectors(n);
            EXPECT_GE(floats, vectors * kTileRows + vectors / PackedVectors::kVectors * packed_bytes(n) / 4)
                << n;
        }
        before = floats;
    }
}

}  // namespace
}  // namespace greenroom::cpu
