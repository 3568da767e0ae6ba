#include "gpu/device.h"
#include "gpu/kernels/calls.h"
#include "gpu/memory.h"
#include "gpu/ops.h"
#include "gpu/step_state.h"
#include "gpu/stream.h"
#include "quant/base/matrix_view.h"
#include "runtime/gpu_probe.h"
#include "runtime/hand_over.h"
#include "runtime/staged_copies.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace greenroom::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kLeastPiece = 64 << 10;
constexpr std::int64_t kLeastBytes = 1 << 20;

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Copies whole pieces, as slots are filled.
void enqueue_upload(gpu::Stream& stream, const gpu::DeviceBuffer& to, const std::byte* from,
                    std::int64_t piece_bytes) {
    for (std::int64_t at = 0; at < to.bytes(); at += piece_bytes)
        gpu::copy_to_device(stream, to.data() + at, from + at, std::min(piece_bytes, to.bytes() - at));
}

// Bytes per second of what `enqueue` does with `bytes`: the second time, the first touches everything.
template <class Enqueue>
double bandwidth(gpu::Stream& stream, std::int64_t bytes, const Enqueue& enqueue) {
    double seconds = 0;
    for (int pass = 0; pass < 2; ++pass) {
        const auto begin = Clock::now();
        enqueue();
        stream.synchronize();
        seconds = seconds_since(begin);
    }
    return static_cast<double>(bytes) / seconds;
}

// Bytes per second of uploads, and of the host's reads at the same time.
struct Shared {
    double upload = 0;
    double dram_read = 0;
};

// Uploads of `bytes` each go on until both sides have been busy for a while; what is under way at the end is
// let run.
template <class Enqueue>
Shared measure_shared(const GpuProbeOptions& options, gpu::Stream& stream, std::int64_t bytes, int n_uploads,
                      const Enqueue& enqueue) {
    if (!options.read_host) return {};
    gpu::Event end;
    const auto begin = Clock::now();
    for (int i = 0; i < n_uploads; ++i) enqueue();
    stream.record(end);
    double upload_s = 0;
    const std::int64_t n_read = options.read_host([&] {
        if (!end.done()) return false;
        upload_s = seconds_since(begin);
        return true;
    });
    const double read_s = seconds_since(begin);
    end.wait();
    if (upload_s == 0) upload_s = seconds_since(begin);
    return {static_cast<double>(n_uploads * bytes) / upload_s, static_cast<double>(n_read) / read_s};
}

void measure_pinned(GpuMeasurements& result, const GpuProbeOptions& options, gpu::Stream& stream,
                    const gpu::DeviceBuffer& to, const std::byte* from, std::int64_t piece_bytes) {
    constexpr int kUploads = 6;
    const auto enqueue = [&] { enqueue_upload(stream, to, from, piece_bytes); };
    result.pinned_upload = bandwidth(stream, to.bytes(), enqueue);
    const Shared shared = measure_shared(options, stream, to.bytes(), kUploads, enqueue);
    result.shared_upload = shared.upload;
    result.shared_dram_read = shared.dram_read;
}

// At once; they take longer.
constexpr int kStagedUploads = 2;

void measure_staged(GpuMeasurements& result, const GpuProbeOptions& options, gpu::Stream& stream,
                    StagedCopies& staged, const gpu::DeviceBuffer& to, const std::byte* from,
                    std::int64_t piece_bytes) {
    const auto enqueue = [&] {
        for (std::int64_t at = 0; at < to.bytes(); at += piece_bytes) {
            const UploadPart part{from + at, to.data() + at, std::min(piece_bytes, to.bytes() - at)};
            staged.enqueue(stream, {&part, 1});
        }
    };
    result.staged_upload = bandwidth(stream, to.bytes(), enqueue);
    const Shared shared = measure_shared(options, stream, to.bytes(), kStagedUploads, enqueue);
    result.shared_staged_upload = shared.upload;
    result.shared_staged_dram_read = shared.dram_read;
}

// As much as can be pinned of so many bytes, at least kLeastBytes of them.
gpu::PinnedBuffer pin_most_of(std::int64_t bytes) {
    constexpr const char* kWhat = "what is measured of uploads";
    for (; bytes > kLeastBytes; bytes = std::max(kLeastBytes, bytes / 2))
        if (auto pinned = gpu::if_pinned([bytes] { return gpu::PinnedBuffer(bytes, kWhat); }))
            return *std::move(pinned);
    return {kLeastBytes, kWhat};
}

// What DecodeGraph and GraphedExperts do for a layer with a miss, and nothing else: in a graph a kernel hands
// the layer's call and its x over, the host sees it and answers, and a kernel that has waited for that adds
// what the host has written.
double measure_hand_over(gpu::DeviceBudget& budget, gpu::Stream& stream, int n_hand_overs) {
    constexpr std::int64_t kColumns = 4096;
    constexpr auto kMemoryBytes = std::int64_t{4096};
    // A layer with one expert and one call, of expert 0, which has no slot: zeros all.
    const gpu::DeviceBuffer memory(budget, kMemoryBytes, "what is measured of the hand-over");
    const gpu::DeviceBuffer x_memory(budget, kColumns * 4, "what is measured of the hand-over");
    gpu::fill_bytes(stream, memory.data(), 0, memory.bytes());
    gpu::fill_bytes(stream, x_memory.data(), 0, x_memory.bytes());
    const auto at = [&](int place) { return memory.data() + 256 * place; };
    const gpu::HitGroups hits{.n_groups = reinterpret_cast<std::int32_t*>(at(0)),
                              .n_misses = reinterpret_cast<std::int32_t*>(at(1)),
                              .slots = reinterpret_cast<const std::byte**>(at(2)),
                              .experts = reinterpret_cast<std::int32_t*>(at(3)),
                              .first = reinterpret_cast<std::int32_t*>(at(4)),
                              .calls = reinterpret_cast<std::int32_t*>(at(5))};
    const std::span experts(reinterpret_cast<const std::int32_t*>(at(6)), 1);
    const std::span weights(reinterpret_cast<const float*>(at(7)), 1);
    const std::span slots(reinterpret_cast<const std::byte* const*>(at(8)), 1);
    auto* const step = reinterpret_cast<gpu::StepState*>(at(9));
    const MatrixView x{x_memory.as<float>(), 1, kColumns, kColumns};

    HandOver hand_over({.n_turns = n_hand_overs, .n_calls = 1, .n_cols = kColumns});
    gpu::Capture capture(stream);
    for (int turn = 0; turn < n_hand_overs; ++turn) {
        gpu::split_calls(stream, hits, hand_over.calls(turn), experts, weights, slots, step, x);
        gpu::wait_and_add(stream, x, hand_over.sum(turn), hand_over.answer_flag(turn), hits.n_misses, step);
    }
    const gpu::Graph graph = capture.finish();

    gpu::HostArray<gpu::StepState> next_step(1, "a step");
    double seconds = 0;
    for (std::uint32_t number = 1; number <= 2; ++number) {  // the first launch of a graph takes longer
        *next_step.data() = {.first_position = 0, .step = number};
        gpu::copy_to_device(stream, step, next_step.data(), sizeof(gpu::StepState));
        stream.synchronize();
        const auto begin = Clock::now();
        graph.launch(stream);
        hand_over.begin(stream, number);
        int turn = 0;
        try {
            for (; turn < n_hand_overs; ++turn) {
                hand_over.wait_for_calls(turn, nullptr);
                hand_over.answer(turn);
            }
        } catch (...) {
            hand_over.give_up(turn);
            throw;
        }
        stream.synchronize();
        seconds = seconds_since(begin);
    }
    return seconds / n_hand_overs;
}

}  // namespace

std::optional<GpuMeasurements> probe_gpu(const GpuProbeOptions& options) {
    const std::vector<gpu::DeviceInfo> devices = gpu::list_devices();
    if (devices.empty() || !devices.front().supported()) return std::nullopt;
    const bool everything = options.what == GpuProbeOptions::What::everything;
    GpuMeasurements result;
    const std::int64_t piece_bytes = std::max(kLeastPiece, options.expert_bytes);
    gpu::Stream stream;
    // A quarter of what is free, and two of them are needed.
    std::int64_t bytes = std::max(kLeastBytes, std::min(options.copy_bytes, gpu::free_device_bytes() / 4));
    auto staged = gpu::if_pinned([&] {  // before anything else takes what can be pinned, as for experts
        return StagedCopies(piece_bytes, kStagedUploads * (bytes / piece_bytes + 1),
                            "what is measured of uploads");
    });
    gpu::PinnedBuffer pinned = pin_most_of(bytes);
    bytes = pinned.bytes();
    std::fill_n(pinned.data(), bytes, std::byte{1});
    gpu::DeviceBudget budget(3 * bytes + (1 << 20));
    {
        const gpu::DeviceBuffer to(budget, bytes, "what is measured of copies");
        measure_pinned(result, options, stream, to, pinned.data(), piece_bytes);
        // What a thread reads may as well be pinned.
        if (staged) measure_staged(result, options, stream, *staged, to, pinned.data(), piece_bytes);
        staged.reset();
        pinned = {};
        if (!everything) return result;
        const std::vector<std::byte> pageable(static_cast<std::size_t>(bytes), std::byte{1});
        result.pageable_upload =
            bandwidth(stream, bytes, [&] { enqueue_upload(stream, to, pageable.data(), piece_bytes); });
        const gpu::DeviceBuffer from(budget, bytes, "what is measured of copies");
        gpu::fill_bytes(stream, from.data(), 1, bytes);
        result.vram_copy =
            bandwidth(stream, 2 * bytes, [&] { gpu::copy_on_device(stream, to.data(), from.data(), bytes); });
    }
    result.hand_over_s = measure_hand_over(budget, stream, options.n_hand_overs);
    return result;
}

std::string installed_gpus(const std::string& folder) {
    std::vector<std::string> names;
    std::error_code missing;
    for (const auto& gpu : std::filesystem::directory_iterator(folder, missing)) {
        std::ifstream in(gpu.path() / "information");
        for (std::string line; std::getline(in, line);) {
            constexpr std::string_view kKey = "Model:";
            if (!line.starts_with(kKey)) continue;
            const std::size_t begin = line.find_first_not_of(" \t", kKey.size());
            if (begin != std::string::npos) names.push_back(line.substr(begin));
        }
    }
    std::ranges::sort(names);
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : " + ") + name;
    return all;
}

}  // namespace greenroom::runtime
