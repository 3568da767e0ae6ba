#pragma once

// The emulated device, as tests set it up: how lanes take turns, how much memory there is, what fails and
// what is slow.
//
// There is one device, of compute capability 7.5 (the least that we support, so that no kernel asks for more
// than it has): host memory and a thread per stream, which takes the stream's work in order. Its memory is
// filled with NaN when it is allocated. Any thread may call these, at any time.

#include <cstdint>
#include <string>
#include <vector>

namespace greenroom::emulation {

// Which lane runs next: the one after, before, or any.
enum class LaneOrder { forward, backward, shuffled };

// Also for kernels that are enqueued already. Shuffled: each block in another order, which the seed decides.
void set_lane_order(LaneOrder order, std::uint32_t seed = 1);
LaneOrder lane_order();
std::uint32_t lane_order_seed();

// How much there is, and how much of it can be had. 0 bytes of VRAM: no device.
void set_vram_bytes(std::int64_t bytes);
void set_pinned_limit_bytes(std::int64_t bytes);

// The call after n_successes good ones of this name ("cudaMalloc") returns `status` and does nothing.
void fail_call(const std::string& name, int status, int n_successes = 0);

// Every copy, and every kernel, takes this much longer.
void set_copy_delay_us(std::int64_t us);
void set_kernel_delay_us(std::int64_t us);

// What has been done since the start or reset().
struct Counts {
    std::int64_t kernels = 0;
    std::int64_t copies = 0;
    std::int64_t copied_bytes = 0;
    std::int64_t graphs = 0;  // made ready to be launched
    std::int64_t graph_launches = 0;
};
Counts counts();

// Allocations and pinned regions not given back, in bytes.
std::int64_t device_bytes_in_use();
std::int64_t pinned_bytes_in_use();

// The fault that lost the device, or "".
std::string fault();

// Everything as in the beginning, and the device is back. No work may be under way.
void reset();

}  // namespace greenroom::emulation
