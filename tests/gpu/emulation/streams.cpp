#include "tests/gpu/emulation/streams.h"

#include "tests/gpu/emulation/lanes.h"
#include "tests/gpu/emulation/shared_variables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace greenroom::emulation {
namespace {

constexpr std::int64_t kSharedBytesUnasked = 48 * 1024;
constexpr std::int64_t kSharedBytesMost = 64 * 1024;

void run_stream(CUstream_st& stream) {
    std::unique_lock lock(stream.mu);
    for (;;) {
        stream.changed.wait(lock, [&] { return stream.ending || !stream.queue.empty(); });
        if (stream.queue.empty()) return;
        Work work = std::move(stream.queue.front());
        stream.queue.pop_front();
        stream.busy = true;
        lock.unlock();
        work();
        work = {};
        lock.lock();
        stream.busy = false;
        stream.changed.notify_all();
    }
}

bool exists(CUstream_st* stream) {
    const std::lock_guard lock(device().mu);
    return device().streams.contains(stream);
}

// A stream's part of the beginning of a call.
cudaError_t begin_stream_call(const char* name, CUstream_st* stream) {
    const cudaError_t status = begin_call(name);
    if (status != cudaSuccess) return status;
    return exists(stream) ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

void sleep_us(std::int64_t us) {
    if (us > 0) std::this_thread::sleep_for(std::chrono::microseconds(us));
}

void wait_until_idle(CUstream_st& stream) {
    std::unique_lock lock(stream.mu);
    stream.changed.wait(lock, [&] { return stream.queue.empty() && !stream.busy; });
}

// Waiting for a stream that captures is an error, and spoils the capture.
cudaError_t refuse_if_capturing(CUstream_st& stream) {
    const std::lock_guard lock(stream.mu);
    if (!stream.capturing) return cudaSuccess;
    stream.capturing->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
}

void copy_bytes(void* to, const void* from, std::size_t bytes) {
    if (device().lost != cudaSuccess) return;
    sleep_us(device().copy_delay_us);
    std::memmove(to, from, bytes);
    const std::lock_guard lock(device().mu);
    ++device().counts.copies;
    device().counts.copied_bytes += static_cast<std::int64_t>(bytes);
}

bool may_copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    return (!to_device || is_known(to, bytes)) && (!from_device || is_known(from, bytes)) &&
           (to_device || !is_device(to)) && (from_device || !is_device(from));
}

cudaError_t check_sizes(const Launch& launch) {
    const auto& [x, y, z] = launch.block;
    const std::uint64_t n_threads = std::uint64_t{x} * y * z;
    if (n_threads == 0 || n_threads > 1024 || z > 64) return cudaErrorInvalidConfiguration;
    if (launch.grid.x == 0 || launch.grid.y == 0 || launch.grid.z == 0 || launch.grid.x > 0x7fffffffU ||
        launch.grid.y > 65535 || launch.grid.z > 65535)
        return cudaErrorInvalidConfiguration;
    const std::lock_guard lock(device().mu);
    const auto limit = device().shared_limits.find(launch.kernel);
    const std::int64_t most = limit == device().shared_limits.end() ? kSharedBytesUnasked : limit->second;
    return static_cast<std::int64_t>(launch.shared_bytes) > most ? cudaErrorInvalidValue : cudaSuccess;
}

void run_kernel(const Launch& launch) {
    if (device().lost != cudaSuccess) return;
    sleep_us(device().kernel_delay_us);
    for (std::size_t i = 0; i < launch.pointers.size(); ++i) {
        if (launch.pointers[i] == nullptr || is_known(launch.pointers[i], 1)) continue;
        lose_device(
            cudaErrorIllegalAddress,
            fmt::format("{}: pointer {} among its arguments ({}) is neither in device memory nor pinned",
                        function_name(launch.kernel), i, launch.pointers[i]));
        return;
    }
    const std::string fault = run_grid(launch);
    if (!fault.empty()) lose_device(cudaErrorLaunchFailure, fault);
    const std::lock_guard lock(device().mu);
    ++device().counts.kernels;
}

}  // namespace

cudaError_t enqueue(CUstream_st* stream, Work work) {
    const std::lock_guard lock(stream->mu);
    if (stream->capturing) {
        if (stream->capturing->invalid) return cudaErrorStreamCaptureInvalidated;
        stream->capturing->works.push_back(std::move(work));
        const std::int64_t n = ++stream->capturing->n_works[stream];
        stream->capturing->seen[stream][stream] = n;
        return cudaSuccess;
    }
    stream->queue.push_back(std::move(work));
    stream->changed.notify_all();
    return cudaSuccess;
}

cudaError enqueue_kernel(Launch launch, CUstream_st* stream) {
    cudaError_t status = begin_stream_call("cudaLaunchKernel", stream);
    if (status == cudaSuccess) status = check_sizes(launch);
    if (status == cudaSuccess)
        status =
            enqueue(stream, [shared = std::make_shared<Launch>(std::move(launch))] { run_kernel(*shared); });
    return finish_call(status);
}

void wait_for_all_streams() {
    std::map<CUstream_st*, std::shared_ptr<CUstream_st>> streams;  // some may be destroyed meanwhile
    {
        const std::lock_guard lock(device().mu);
        streams = device().streams;
    }
    for (const auto& [handle, stream] : streams) wait_until_idle(*stream);
}

}  // namespace greenroom::emulation

using namespace greenroom::emulation;

cudaError_t cudaDeviceSynchronize() {
    cudaError_t status = begin_call("cudaDeviceSynchronize");
    if (status == cudaSuccess && thread_is_capturing()) status = cudaErrorStreamCaptureUnsupported;
    if (status != cudaSuccess) return finish_call(status);
    wait_for_all_streams();
    return finish_call(device().lost);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
    *least = 0;
    *greatest = -2;
    return finish_call(begin_call("cudaDeviceGetStreamPriorityRange"));
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
    *stream = nullptr;
    const cudaError_t status = begin_call("cudaStreamCreateWithPriority");
    if (status != cudaSuccess) return finish_call(status);
    const auto made = std::make_shared<CUstream_st>();
    made->thread = std::thread([&s = *made] { run_stream(s); });
    *stream = made.get();
    const std::lock_guard lock(device().mu);
    device().streams.emplace(*stream, made);
    return cudaSuccess;
}

// CUDA lets the work go on and returns; our Stream waits before.
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    std::shared_ptr<CUstream_st> owner;
    {
        const std::lock_guard lock(device().mu);
        const auto found = device().streams.find(stream);
        if (found == device().streams.end()) return finish_call(cudaErrorInvalidResourceHandle);
        owner = std::move(found->second);
        device().streams.erase(found);
    }
    {
        const std::lock_guard lock(stream->mu);
        stream->ending = true;
        stream->changed.notify_all();
    }
    stream->thread.join();
    return finish_call(device().lost);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    cudaError_t status = begin_stream_call("cudaStreamSynchronize", stream);
    if (status == cudaSuccess) status = refuse_if_capturing(*stream);
    if (status != cudaSuccess) return finish_call(status);
    wait_until_idle(*stream);
    return finish_call(device().lost);
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
    cudaError_t status = begin_stream_call("cudaStreamQuery", stream);
    if (status == cudaSuccess) status = refuse_if_capturing(*stream);
    if (status != cudaSuccess) return finish_call(status);
    const std::lock_guard lock(stream->mu);
    return stream->queue.empty() && !stream->busy ? cudaSuccess : finish_call(cudaErrorNotReady);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
    *event = nullptr;
    const cudaError_t status = begin_call("cudaEventCreateWithFlags");
    if (status != cudaSuccess) return finish_call(status);
    *event = new CUevent_st;
    (*event)->state->timed = flags != cudaEventDisableTiming;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return finish_call(device().lost);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    const cudaError_t status = begin_stream_call("cudaEventRecord", stream);
    if (status != cudaSuccess) return finish_call(status);
    const std::shared_ptr<EventState> state = event->state;
    {
        const std::lock_guard lock(stream->mu);
        const std::lock_guard event_lock(state->mu);
        state->captured_in = stream->capturing;
        if (stream->capturing) {
            state->captured_after = stream->capturing->seen[stream];
            return cudaSuccess;
        }
    }
    std::int64_t number = 0;
    {
        const std::lock_guard lock(state->mu);
        number = ++state->n_recorded;
    }
    return finish_call(enqueue(stream, [state, number] {
        const std::lock_guard lock(state->mu);
        state->n_done = number;
        state->done_at = std::chrono::steady_clock::now();
        state->changed.notify_all();
    }));
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    const cudaError_t status = begin_call("cudaEventQuery");
    if (status != cudaSuccess) return finish_call(status);
    const std::lock_guard lock(event->state->mu);
    if (event->state->captured_in) return finish_call(cudaErrorCapturedEvent);
    return event->state->n_done == event->state->n_recorded ? cudaSuccess : finish_call(cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    const cudaError_t status = begin_call("cudaEventSynchronize");
    if (status != cudaSuccess) return finish_call(status);
    EventState& state = *event->state;
    std::unique_lock lock(state.mu);
    if (state.captured_in) return finish_call(cudaErrorCapturedEvent);
    const std::int64_t number = state.n_recorded;
    state.changed.wait(lock, [&] { return state.n_done >= number; });
    return finish_call(device().lost);
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
    const cudaError_t status = begin_call("cudaEventElapsedTime");
    if (status != cudaSuccess) return finish_call(status);
    const std::scoped_lock lock(from->state->mu, to->state->mu);
    const EventState& a = *from->state;
    const EventState& b = *to->state;
    if (!a.timed || !b.timed || a.n_recorded == 0 || b.n_recorded == 0)
        return finish_call(cudaErrorInvalidResourceHandle);
    if (a.n_done < a.n_recorded || b.n_done < b.n_recorded) return finish_call(cudaErrorNotReady);
    *milliseconds = std::chrono::duration<float, std::milli>(b.done_at - a.done_at).count();
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    const cudaError_t status = begin_stream_call("cudaStreamWaitEvent", stream);
    if (status != cudaSuccess) return finish_call(status);
    const std::shared_ptr<EventState> state = event->state;
    std::int64_t number = 0;
    {
        const std::scoped_lock lock(stream->mu, state->mu);
        if (state->captured_in) {
            if (stream->capturing && stream->capturing != state->captured_in)
                return finish_call(cudaErrorStreamCaptureIsolation);
            stream->capturing = state->captured_in;
            for (const auto& [other, n] : state->captured_after) {
                std::int64_t& seen = stream->capturing->seen[stream][other];
                seen = std::max(seen, n);
            }
            return cudaSuccess;
        }
        if (stream->capturing) {
            stream->capturing->invalid = true;
            return finish_call(cudaErrorStreamCaptureIsolation);
        }
        number = state->n_recorded;
    }
    return finish_call(enqueue(stream, [state, number] {
        std::unique_lock lock(state->mu);
        state->changed.wait(lock, [&] { return state->n_done >= number; });
    }));
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
    const cudaError_t status = begin_stream_call("cudaMemcpyAsync", stream);
    if (status != cudaSuccess) return finish_call(status);
    if (bytes == 0) return cudaSuccess;
    if (!may_copy(to, from, bytes, kind)) return finish_call(cudaErrorInvalidValue);
    const bool beside_the_host = is_known(to, bytes) && is_known(from, bytes);
    bool capturing = false;
    {
        const std::lock_guard lock(stream->mu);
        capturing = stream->capturing != nullptr;
    }
    // A copy from or to pageable memory takes the caller's time.
    const cudaError_t enqueued = enqueue(stream, [to, from, bytes] { copy_bytes(to, from, bytes); });
    if (enqueued == cudaSuccess && !beside_the_host && !capturing) wait_until_idle(*stream);
    return finish_call(enqueued);
}

cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
    const cudaError_t status = begin_stream_call("cudaMemsetAsync", stream);
    if (status != cudaSuccess) return finish_call(status);
    if (bytes == 0) return cudaSuccess;
    if (!is_known(to, bytes)) return finish_call(cudaErrorInvalidValue);
    return finish_call(enqueue(stream, [to, value, bytes] {
        if (device().lost == cudaSuccess) std::memset(to, value, bytes);
    }));
}

// A function of the host is not called any more when the device is lost.
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, void (*function)(void*), void* argument) {
    const cudaError_t status = begin_stream_call("cudaLaunchHostFunc", stream);
    if (status != cudaSuccess) return finish_call(status);
    return finish_call(enqueue(stream, [function, argument] {
        if (device().lost == cudaSuccess) function(argument);
    }));
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
    const cudaError_t status = begin_call("cudaFuncSetAttribute");
    if (status != cudaSuccess) return finish_call(status);
    if (value < 0 || value > kSharedBytesMost) return finish_call(cudaErrorInvalidValue);
    const std::lock_guard lock(device().mu);
    device().shared_limits[kernel] = value;
    return cudaSuccess;
}
