#include "gpu/kernels/embed.h"

#include "gpu/stream.h"
#include "tests/gpu/lane_orders.h"
#include "tests/gpu/weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace greenroom::gpu {
namespace {

class Embed : public test::GpuTest {};

TEST_P(Embed, RowsAreThoseOfTheTable) {
    Stream stream;
    const std::vector<std::int32_t> ids = {4, 0, 4, 2};
    const test::DeviceArray<std::int32_t> device_ids(stream, ids);
    for (const quant::Type type : test::weight_types()) {
        // Of floats a row that ends within a group of 16.
        const std::int64_t n = test::is_float(type) ? 37 : 2 * quant::type_info(type).block_values;
        const test::DeviceTensor table(stream, type, n, 5, 1, 7);
        const test::DeviceArray<float> out(stream, ids.size() * static_cast<std::size_t>(n));
        embed(stream, out.matrix(4, n), table.view, {device_ids.data(), device_ids.size()});
        const std::vector<float> rows = out.download();
        for (std::size_t t = 0; t < ids.size(); ++t)
            for (std::int64_t i = 0; i < n; ++i)
                ASSERT_EQ(rows[t * static_cast<std::size_t>(n) + static_cast<std::size_t>(i)],
                          table.row(ids[t])[i])
                    << quant::type_name(type) << " token " << t << ", value " << i;
    }
}

GR_RUN_IN_LANE_ORDERS(Embed);

}  // namespace
}  // namespace greenroom::gpu
