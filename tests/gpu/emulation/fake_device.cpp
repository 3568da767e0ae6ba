// Devices, errors and memory of the emulated runtime.

#include "tests/gpu/emulation/fake_device.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

namespace greenroom::emulation {
namespace {

constexpr std::int64_t kVramBytes = std::int64_t{1} << 30;
constexpr std::int64_t kPinnedLimit = std::int64_t{1} << 40;
constexpr std::size_t kAllocationBytes = 256;  // granularity and alignment, as CUDA's

thread_local cudaError_t last_error = cudaSuccess;

std::int64_t rounded(std::size_t bytes) {
    return static_cast<std::int64_t>((bytes + kAllocationBytes - 1) / kAllocationBytes * kAllocationBytes);
}

// The allocation that holds this address, or the end.
std::map<std::uintptr_t, Allocation>::const_iterator find_allocation(std::uintptr_t address) {
    const auto& all = device().allocations;
    auto found = all.upper_bound(address);
    if (found == all.begin()) return all.end();
    --found;
    return address < found->first + static_cast<std::uintptr_t>(found->second.bytes) ? found : all.end();
}

cudaError_t allocate(void** memory, std::size_t bytes, Kind kind) {
    if (memory == nullptr) return cudaErrorInvalidValue;
    *memory = nullptr;
    if (thread_is_capturing()) return cudaErrorStreamCaptureUnsupported;
    if (bytes == 0) return cudaSuccess;
    const std::lock_guard lock(device().mu);
    std::int64_t& used = kind == Kind::device ? device().vram_used : device().pinned_used;
    const std::int64_t limit = kind == Kind::device ? device().vram_bytes : device().pinned_limit;
    if (rounded(bytes) > limit - used) return cudaErrorMemoryAllocation;
    *memory = ::operator new (bytes, std::align_val_t{kAllocationBytes});
    std::memset(*memory, 0xff, bytes);  // NaN
    used += rounded(bytes);
    device().allocations[reinterpret_cast<std::uintptr_t>(*memory)] = {static_cast<std::int64_t>(bytes),
                                                                       kind};
    return cudaSuccess;
}

cudaError_t forget(void* memory, Kind kind) {
    const std::lock_guard lock(device().mu);
    const auto found = device().allocations.find(reinterpret_cast<std::uintptr_t>(memory));
    if (found == device().allocations.end() || found->second.kind != kind) return cudaErrorInvalidValue;
    (kind == Kind::device ? device().vram_used : device().pinned_used) -=
        rounded(static_cast<std::size_t>(found->second.bytes));
    device().allocations.erase(found);
    return cudaSuccess;
}

cudaError_t release(void* memory, Kind kind) {
    if (memory == nullptr) return cudaSuccess;
    if (thread_is_capturing()) return cudaErrorStreamCaptureUnsupported;
    wait_for_all_streams();
    const cudaError_t status = forget(memory, kind);
    if (status == cudaSuccess) ::operator delete (memory, std::align_val_t{kAllocationBytes});
    return status;
}

}  // namespace

FakeDevice& device() {
    // Never destroyed: streams' threads may outlive main()'s statics.
    static FakeDevice& only = [&]() -> FakeDevice& {
        auto* made = new FakeDevice;
        made->vram_bytes = kVramBytes;
        made->pinned_limit = kPinnedLimit;
        return *made;
    }();
    return only;
}

cudaError_t begin_call(const char* name) {
    const cudaError_t lost = device().lost;
    if (lost != cudaSuccess) return lost;
    const std::lock_guard lock(device().mu);
    if (device().vram_bytes == 0) return cudaErrorNoDevice;
    for (auto failure = device().failures.begin(); failure != device().failures.end(); ++failure) {
        if (failure->call != name || failure->n_successes-- > 0) continue;
        const cudaError_t status = failure->status;
        device().failures.erase(failure);
        return status;
    }
    return cudaSuccess;
}

cudaError_t finish_call(cudaError_t status) {
    if (status != cudaSuccess) last_error = status;
    return status;
}

bool is_known(const void* memory, std::size_t bytes) {
    const std::lock_guard lock(device().mu);
    auto address = reinterpret_cast<std::uintptr_t>(memory);
    const std::uintptr_t end = address + bytes;
    do {  // neighbouring regions may have been registered one by one
        const auto found = find_allocation(address);
        if (found == device().allocations.end()) return false;
        address = found->first + static_cast<std::uintptr_t>(found->second.bytes);
    } while (address < end);
    return true;
}

bool is_device(const void* memory) {
    const std::lock_guard lock(device().mu);
    const auto found = find_allocation(reinterpret_cast<std::uintptr_t>(memory));
    return found != device().allocations.end() && found->second.kind == Kind::device;
}

void lose_device(cudaError_t status, const std::string& fault) {
    std::fprintf(stderr, "emulated device: %s\n", fault.c_str());
    const std::lock_guard lock(device().mu);
    if (device().lost != cudaSuccess) return;
    device().fault = fault;
    device().lost = status;
}

void set_lane_order(LaneOrder order, std::uint32_t seed) {
    device().order = order;
    device().seed = seed;
}

LaneOrder lane_order() { return device().order; }

std::uint32_t lane_order_seed() { return device().seed; }

void set_vram_bytes(std::int64_t bytes) {
    const std::lock_guard lock(device().mu);
    device().vram_bytes = bytes;
}

void set_pinned_limit_bytes(std::int64_t bytes) {
    const std::lock_guard lock(device().mu);
    device().pinned_limit = bytes;
}

void fail_call(const std::string& name, int status, int n_successes) {
    const std::lock_guard lock(device().mu);
    device().failures.push_back({name, static_cast<cudaError_t>(status), n_successes});
}

void set_copy_delay_us(std::int64_t us) { device().copy_delay_us = us; }

void set_kernel_delay_us(std::int64_t us) { device().kernel_delay_us = us; }

Counts counts() {
    const std::lock_guard lock(device().mu);
    return device().counts;
}

std::int64_t device_bytes_in_use() {
    const std::lock_guard lock(device().mu);
    return device().vram_used;
}

std::int64_t pinned_bytes_in_use() {
    const std::lock_guard lock(device().mu);
    return device().pinned_used;
}

std::string fault() {
    const std::lock_guard lock(device().mu);
    return device().fault;
}

void reset() {
    FakeDevice& d = device();
    const std::lock_guard lock(d.mu);
    d.vram_bytes = kVramBytes;
    d.pinned_limit = kPinnedLimit;
    d.failures.clear();
    d.fault.clear();
    d.counts = {};
    d.shared_limits.clear();
    d.lost = cudaSuccess;
    d.copy_delay_us = 0;
    d.kernel_delay_us = 0;
    d.order = LaneOrder::forward;
    d.seed = 1;
    last_error = cudaSuccess;
}

}  // namespace greenroom::emulation

using namespace greenroom::emulation;

const char* cudaGetErrorName(cudaError_t status) {
    switch (status) {
        case cudaSuccess:
            return "cudaSuccess";
        case cudaErrorInvalidValue:
            return "cudaErrorInvalidValue";
        case cudaErrorMemoryAllocation:
            return "cudaErrorMemoryAllocation";
        case cudaErrorInvalidConfiguration:
            return "cudaErrorInvalidConfiguration";
        case cudaErrorInsufficientDriver:
            return "cudaErrorInsufficientDriver";
        case cudaErrorNoDevice:
            return "cudaErrorNoDevice";
        case cudaErrorInvalidDevice:
            return "cudaErrorInvalidDevice";
        case cudaErrorInvalidResourceHandle:
            return "cudaErrorInvalidResourceHandle";
        case cudaErrorNotReady:
            return "cudaErrorNotReady";
        case cudaErrorIllegalAddress:
            return "cudaErrorIllegalAddress";
        case cudaErrorHostMemoryAlreadyRegistered:
            return "cudaErrorHostMemoryAlreadyRegistered";
        case cudaErrorHostMemoryNotRegistered:
            return "cudaErrorHostMemoryNotRegistered";
        case cudaErrorLaunchFailure:
            return "cudaErrorLaunchFailure";
        case cudaErrorStreamCaptureUnsupported:
            return "cudaErrorStreamCaptureUnsupported";
        case cudaErrorStreamCaptureInvalidated:
            return "cudaErrorStreamCaptureInvalidated";
        case cudaErrorStreamCaptureUnjoined:
            return "cudaErrorStreamCaptureUnjoined";
        case cudaErrorStreamCaptureIsolation:
            return "cudaErrorStreamCaptureIsolation";
        case cudaErrorCapturedEvent:
            return "cudaErrorCapturedEvent";
    }
    return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t status) {
    if (status == cudaSuccess || status != device().lost) return cudaGetErrorName(status);
    static thread_local std::string text;  // good until the thread asks again
    text = fault();
    return text.c_str();
}

cudaError_t cudaGetLastError() {
    const cudaError_t lost = device().lost;
    const cudaError_t status = lost != cudaSuccess ? lost : last_error;
    last_error = cudaSuccess;
    return status;
}

cudaError_t cudaPeekAtLastError() {
    const cudaError_t lost = device().lost;
    return lost != cudaSuccess ? lost : last_error;
}

cudaError_t cudaGetDeviceCount(int* count) {
    *count = 0;
    const cudaError_t status = begin_call("cudaGetDeviceCount");
    if (status == cudaSuccess) *count = 1;
    return finish_call(status);
}

cudaError_t cudaGetDevice(int* index) {
    *index = 0;
    return finish_call(begin_call("cudaGetDevice"));
}

cudaError_t cudaSetDevice(int index) {
    const cudaError_t status = begin_call("cudaSetDevice");
    return finish_call(status == cudaSuccess && index != 0 ? cudaErrorInvalidDevice : status);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index) {
    const cudaError_t status = begin_call("cudaGetDeviceProperties");
    if (status != cudaSuccess) return finish_call(status);
    if (index != 0) return finish_call(cudaErrorInvalidDevice);
    *properties = {};
    std::snprintf(properties->name, sizeof(properties->name), "Emulated device");
    const std::lock_guard lock(device().mu);
    properties->totalGlobalMem = static_cast<std::size_t>(device().vram_bytes);
    properties->sharedMemPerBlockOptin = 64 * 1024;
    properties->major = 7;
    properties->minor = 5;
    properties->multiProcessorCount = 4;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
    const cudaError_t status = begin_call("cudaMemGetInfo");
    if (status != cudaSuccess) return finish_call(status);
    const std::lock_guard lock(device().mu);
    *free_bytes =
        static_cast<std::size_t>(std::max<std::int64_t>(0, device().vram_bytes - device().vram_used));
    *total_bytes = static_cast<std::size_t>(device().vram_bytes);
    return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
    const cudaError_t status = begin_call("cudaMalloc");
    return finish_call(status == cudaSuccess ? allocate(memory, bytes, Kind::device) : status);
}

// Memory of a lost device is gone with it; here it must be given back all the same, or it would count as
// leaked.
cudaError_t cudaFree(void* memory) {
    const cudaError_t status = begin_call("cudaFree");
    const cudaError_t released = release(memory, Kind::device);
    return finish_call(status == cudaSuccess ? released : status);
}

cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
    const cudaError_t status = begin_call("cudaHostAlloc");
    return finish_call(status == cudaSuccess ? allocate(memory, bytes, Kind::pinned) : status);
}

cudaError_t cudaFreeHost(void* memory) {
    const cudaError_t status = begin_call("cudaFreeHost");
    const cudaError_t released = release(memory, Kind::pinned);
    return finish_call(status == cudaSuccess ? released : status);
}

cudaError_t cudaHostRegister(void* memory, std::size_t bytes, unsigned) {
    const cudaError_t status = begin_call("cudaHostRegister");
    if (status != cudaSuccess) return finish_call(status);
    if (memory == nullptr || bytes == 0) return finish_call(cudaErrorInvalidValue);
    if (thread_is_capturing()) return finish_call(cudaErrorStreamCaptureUnsupported);
    const std::lock_guard lock(device().mu);
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    const auto next = device().allocations.lower_bound(address);
    if (find_allocation(address) != device().allocations.end() ||
        (next != device().allocations.end() && next->first < address + bytes))
        return finish_call(cudaErrorHostMemoryAlreadyRegistered);
    if (rounded(bytes) > device().pinned_limit - device().pinned_used)
        return finish_call(cudaErrorMemoryAllocation);
    device().pinned_used += rounded(bytes);
    device().allocations[address] = {static_cast<std::int64_t>(bytes), Kind::registered};
    return cudaSuccess;
}

cudaError_t cudaHostUnregister(void* memory) {
    const cudaError_t status = begin_call("cudaHostUnregister");
    wait_for_all_streams();
    const cudaError_t forgotten = forget(memory, Kind::registered);
    if (status != cudaSuccess) return finish_call(status);
    return finish_call(forgotten == cudaSuccess ? cudaSuccess : cudaErrorHostMemoryNotRegistered);
}
