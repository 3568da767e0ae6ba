// Capture and replay: a graph is the list of the works that were enqueued during the capture, run one after
// the other by the stream that it is launched into.

#include "tests/gpu/emulation/streams.h"

struct CUgraph_st {
    std::vector<greenroom::emulation::Work> works;
};

struct CUgraphExec_st {
    // Shared with launches that are still queued when the graph is destroyed.
    std::shared_ptr<const std::vector<greenroom::emulation::Work>> works;
};

namespace greenroom::emulation {
namespace {

thread_local int n_captures = 0;

// Every stream that took part has been waited for by the first one.
bool is_joined(Capturing& capturing) {
    for (const auto& [stream, n_works] : capturing.n_works)
        if (capturing.seen[capturing.origin][stream] < n_works) return false;
    return true;
}

}  // namespace

bool thread_is_capturing() { return n_captures > 0; }

}  // namespace greenroom::emulation

using namespace greenroom::emulation;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    const cudaError_t status = begin_call("cudaStreamBeginCapture");
    if (status != cudaSuccess) return finish_call(status);
    if (stream == nullptr) return finish_call(cudaErrorStreamCaptureUnsupported);
    const std::lock_guard lock(stream->mu);
    if (stream->capturing) return finish_call(cudaErrorInvalidValue);
    stream->capturing = std::make_shared<Capturing>();
    stream->capturing->origin = stream;
    ++n_captures;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    *graph = nullptr;
    const cudaError_t status = begin_call("cudaStreamEndCapture");
    std::shared_ptr<Capturing> capturing;
    {
        const std::lock_guard lock(stream->mu);
        capturing = std::move(stream->capturing);
        stream->capturing = nullptr;
    }
    if (!capturing || capturing->origin != stream) return finish_call(cudaErrorInvalidValue);
    --n_captures;
    for (const auto& [other, seen] : capturing->seen) {
        if (other == stream) continue;
        const std::lock_guard lock(other->mu);
        other->capturing = nullptr;
    }
    if (status != cudaSuccess) return finish_call(status);
    if (capturing->invalid) return finish_call(cudaErrorStreamCaptureInvalidated);
    if (!is_joined(*capturing)) return finish_call(cudaErrorStreamCaptureUnjoined);
    *graph = new CUgraph_st{std::move(capturing->works)};
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
    *executable = nullptr;
    const cudaError_t status = begin_call("cudaGraphInstantiate");
    if (status != cudaSuccess) return finish_call(status);
    *executable = new CUgraphExec_st{std::make_shared<const std::vector<Work>>(graph->works)};
    const std::lock_guard lock(device().mu);
    ++device().counts.graphs;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    delete executable;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    const cudaError_t status = begin_call("cudaGraphLaunch");
    if (status != cudaSuccess) return finish_call(status);
    if (executable == nullptr || stream == nullptr) return finish_call(cudaErrorInvalidResourceHandle);
    return finish_call(enqueue(stream, [works = executable->works] {
        for (const Work& work : *works) work();
        const std::lock_guard lock(device().mu);
        ++device().counts.graph_launches;
    }));
}
