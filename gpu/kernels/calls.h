#pragma once

// Calls of experts, split into hits and misses: the GPU computes those whose expert has a slot in VRAM, the
// CPU the others meanwhile. The device decides by itself, from a table of slots that is only changed between
// steps, and tells the host what it has decided through mapped pinned memory; the host's sum comes back the
// same way.
//
// A call is a (token, rank) of the router's choice; its number is token · top_k + rank. Launchers only
// enqueue.

#include "quant/base/matrix_view.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace greenroom::gpu {

class Stream;
struct StepState;

// The hits, grouped by expert, in device memory. Groups are in the order of their experts, the calls of a
// group in the order of their numbers.
struct HitGroups {
    std::int32_t* n_groups = nullptr;
    std::int32_t* n_misses = nullptr;
    const std::byte** slots = nullptr;  // [min(n_experts, n_calls)]: slot of a group's expert
    std::int32_t* experts = nullptr;    // [min(n_experts, n_calls)]: its index
    std::int32_t* first =
        nullptr;  // [min(n_experts, n_calls) + 1]: group g is calls [first[g], first[g + 1])
    std::int32_t* calls = nullptr;  // [n_calls]: their numbers
};

// What the host is told, in mapped pinned memory.
struct HostCalls {
    std::int32_t* experts = nullptr;  // [n_calls]: of every call
    float* weights = nullptr;         // [n_calls]
    std::int32_t* missed = nullptr;   // [n_calls]: the expert of a miss, -1 of a hit
    std::uint32_t* ready = nullptr;   // step->step, once all of it is written
    float* x = nullptr;               // [n_tokens, d_model], written if any call missed; nullptr: never
};

// slots: of the layer's experts, n_experts <= 512 pointers in device memory, nullptr where an expert has no
// slot. experts, weights: as route() writes them. x: what the experts are given; looked at only where the
// host is told it, and then for few tokens: one block copies them.
void split_calls(Stream& stream, const HitGroups& hits, const HostCalls& host,
                 std::span<const std::int32_t> experts, std::span<const float> weights,
                 std::span<const std::byte* const> slots, const StepState* step, ConstMatrixView x = {});

// Tells the host which experts it has to have if these are called: missed[i] = experts[i], or -1 where that
// has a slot; then *ready = step->step. missed, ready: mapped pinned memory.
void tell_missed(Stream& stream, std::int32_t* missed, std::uint32_t* ready,
                 std::span<const std::int32_t> experts, std::span<const std::byte* const> slots,
                 const StepState* step);

// A host that cannot deliver stores this in the flag: nothing is added, and the stream goes on.
inline constexpr std::uint32_t kGivenUp = 0xffffffffU;

// out += partial, when *flag (mapped) has become step->step, or at once, without adding, if *n_misses is 0
// (n_misses: nullptr, or as split_calls() wrote it). partial: mapped; the host writes it before the flag.
void wait_and_add(Stream& stream, MatrixView out, ConstMatrixView partial, const std::uint32_t* flag,
                  const std::int32_t* n_misses, const StepState* step);

}  // namespace greenroom::gpu
