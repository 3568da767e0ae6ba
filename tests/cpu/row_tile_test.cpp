#include "cpu/row_tile.h"
#include "cpu/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace greenroom::cpu {
namespace {

TEST(ForEachTile, EveryTileComesOnceWhateverTheThreadsAndVectors) {
    for (const int n_threads : {1, 2, 3, 5}) {
        ThreadTeam team(n_threads);
        for (const std::int64_t n_vectors : {1, 4, 5, 512})
            for (std::int64_t n_tiles = 0; n_tiles < 70; ++n_tiles) {
                std::vector<std::atomic<int>> n_calls(static_cast<std::size_t>(n_tiles) + 1);
                for_each_tile(team, n_tiles, n_vectors, [&](std::int64_t tile, int thread) {
                    if (thread >= 0 && thread < n_threads) ++n_calls[static_cast<std::size_t>(tile)];
                });
                for (std::int64_t tile = 0; tile < n_tiles; ++tile)
                    ASSERT_EQ(n_calls[static_cast<std::size_t>(tile)], 1)
                        << tile << " of " << n_tiles << ", " << n_threads << " threads, " << n_vectors
                        << " vectors";
                ASSERT_EQ(n_calls.back(), 0);
            }
    }
}

}  // namespace
}  // namespace greenroom::cpu
