#include "gpu/stream.h"

#include "gpu/cuda_check.h"

#include <cuda_runtime_api.h>

#include <string_view>

namespace greenroom::gpu {
namespace {

void copy(Stream& stream, void* to, const void* from, std::int64_t bytes, cudaMemcpyKind kind,
          std::string_view where) {
    if (bytes == 0) return;
    cuda_check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), kind, stream.handle()),
               "copying {} bytes {}", bytes, where);
}

// "Not ready" is an answer; CUDA counts it as an error.
bool is_ready(cudaError_t status, const char* doing) {
    if (status == cudaErrorNotReady) {
        cudaGetLastError();
        return false;
    }
    cuda_check(status, "{}", doing);
    return true;
}

}  // namespace

Event::Event(Timing timing) {
    cudaEvent_t event = nullptr;
    cuda_check(
        cudaEventCreateWithFlags(&event, timing == Timing::on ? cudaEventDefault : cudaEventDisableTiming),
        "creating an event");
    handle_.reset(event);
}

void Event::Destroy::operator()(CUevent_st* event) const noexcept {
    cudaEventDestroy(event);
    cudaGetLastError();
}

bool Event::done() const { return is_ready(cudaEventQuery(handle()), "asking for an event"); }

void Event::wait() const { cuda_check(cudaEventSynchronize(handle()), "waiting for an event"); }

float milliseconds_between(const Event& from, const Event& to) {
    float milliseconds = 0;
    cuda_check(cudaEventElapsedTime(&milliseconds, from.handle(), to.handle()), "timing events");
    return milliseconds;
}

Stream::Stream(Priority priority) {
    int least = 0;
    int greatest = 0;
    cuda_check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "asking for the priorities of streams");
    cudaStream_t stream = nullptr;
    cuda_check(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking,
                                            priority == Priority::high ? greatest : least),
               "creating a stream");
    handle_.reset(stream);
}

void Stream::Destroy::operator()(CUstream_st* stream) const noexcept {
    cudaStreamSynchronize(stream);
    cudaStreamDestroy(stream);
    cudaGetLastError();
}

void Stream::synchronize() { cuda_check(cudaStreamSynchronize(handle()), "waiting for a stream's work"); }

bool Stream::idle() const { return is_ready(cudaStreamQuery(handle()), "asking whether a stream is idle"); }

void Stream::record(Event& event) {
    cuda_check(cudaEventRecord(event.handle(), handle()), "recording an event");
}

void Stream::wait(const Event& event) {
    cuda_check(cudaStreamWaitEvent(handle(), event.handle(), 0), "letting a stream wait for an event");
}

void copy_to_device(Stream& stream, void* to, const void* from, std::int64_t bytes) {
    copy(stream, to, from, bytes, cudaMemcpyHostToDevice, "to the GPU");
}

void copy_to_host(Stream& stream, void* to, const void* from, std::int64_t bytes) {
    copy(stream, to, from, bytes, cudaMemcpyDeviceToHost, "from the GPU");
}

void copy_on_device(Stream& stream, void* to, const void* from, std::int64_t bytes) {
    copy(stream, to, from, bytes, cudaMemcpyDeviceToDevice, "on the GPU");
}

void fill_bytes(Stream& stream, void* to, int value, std::int64_t bytes) {
    if (bytes == 0) return;
    cuda_check(cudaMemsetAsync(to, value, static_cast<std::size_t>(bytes), stream.handle()),
               "filling {} bytes on the GPU", bytes);
}

void call_on_host(Stream& stream, void (*function)(void*), void* argument) {
    cuda_check(cudaLaunchHostFunc(stream.handle(), function, argument), "having the host called by a stream");
}

void Graph::Destroy::operator()(CUgraphExec_st* graph) const noexcept {
    cudaGraphExecDestroy(graph);
    cudaGetLastError();
}

void Graph::launch(Stream& stream) const {
    GR_CHECK(handle_ != nullptr);
    cuda_check(cudaGraphLaunch(handle_.get(), stream.handle()), "launching a graph");
}

Capture::Capture(Stream& stream) : stream_(stream) {
    cuda_check(cudaStreamBeginCapture(stream.handle(), cudaStreamCaptureModeThreadLocal),
               "beginning to capture a graph");
}

Capture::~Capture() {
    if (!open_) return;
    cudaGraph_t graph = nullptr;
    if (cudaStreamEndCapture(stream_.handle(), &graph) == cudaSuccess) cudaGraphDestroy(graph);
    cudaGetLastError();
}

Graph Capture::finish() {
    GR_CHECK(open_);
    open_ = false;
    cudaGraph_t captured = nullptr;
    cuda_check(cudaStreamEndCapture(stream_.handle(), &captured), "capturing a graph");
    cudaGraphExec_t executable = nullptr;
    const cudaError_t status = cudaGraphInstantiate(&executable, captured, 0);
    cudaGraphDestroy(captured);
    cuda_check(status, "making a graph ready to run");
    Graph graph;
    graph.handle_.reset(executable);
    return graph;
}

}  // namespace greenroom::gpu
