#pragma once

// A KV cache in device memory and the same bytes on the host, for tests of kernels that read one.

#include "cpu/kv_rows.h"
#include "gpu/step_state.h"
#include "quant/types.h"
#include "tests/gpu/device_array.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace greenroom::gpu::test {

class DeviceCache {
  public:
    // Rows of the positions 0 … n_positions - 1, stored by the CPU; a ring where n_rows is less. Rows that no
    // position has fallen on hold NaN. values: of a position those of all heads, n_values each.
    DeviceCache(Stream& stream, quant::Type type, std::int64_t n_rows, std::int64_t n_values,
                const std::vector<float>& values, int n_heads = 1)
        : bytes_(static_cast<std::size_t>(n_heads * n_rows * quant::row_bytes(type, n_values)),
                 std::byte{0xff}),
          host_{bytes_.data(), type, n_rows, n_values, quant::row_bytes(type, n_values), n_heads},
          device_(stream, bytes_.size()) {
        const std::int64_t n_columns = n_heads * n_values;
        const std::int64_t n_positions = static_cast<std::int64_t>(values.size()) / n_columns;
        cpu::ThreadTeam team(1);
        for (std::int64_t p = 0; p < n_positions; ++p)
            cpu::store_rows(team, host_, p, {values.data() + p * n_columns, 1, n_columns, n_columns});
        copy_to_device(stream, device_.data(), bytes_.data(), static_cast<std::int64_t>(bytes_.size()));
        stream.synchronize();
    }

    KvRows host() const noexcept { return host_; }
    KvRows device() const noexcept {
        KvRows rows = host_;
        rows.data = device_.data();
        return rows;
    }

  private:
    std::vector<std::byte> bytes_;
    KvRows host_;
    DeviceArray<std::byte> device_;
};

inline DeviceArray<StepState> step_at(Stream& stream, std::int64_t first_position, std::uint32_t step = 1) {
    return {stream, std::vector<StepState>{{static_cast<std::int32_t>(first_position), step}}};
}

// The largest difference, as a fraction of the largest expected value.
inline double relative_difference(const std::vector<float>& actual, const std::vector<float>& expected) {
    double largest = 1e-30;
    double difference = actual.size() == expected.size() ? 0.0 : 1e30;
    for (std::size_t i = 0; i < expected.size() && i < actual.size(); ++i) {
        largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
        const double d = std::abs(static_cast<double>(actual[i]) - static_cast<double>(expected[i]));
        difference = d <= difference ? difference : d;  // a NaN stays
    }
    return difference / largest;
}

// What the CPU makes of rows of this type differs by at most that: over quantized ones it may multiply with
// integers of 15 bits (cpu/attention_quant.h), which is felt most where scores are large.
inline double attention_tolerance(quant::Type type) {
    return type == quant::Type::Q8_0 || type == quant::Type::Q4_0 ? 5e-3 : 2e-5;
}

}  // namespace greenroom::gpu::test
