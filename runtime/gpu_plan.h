#pragma once

// What is asked of a GPU, worked out before anything is copied to it: how many of the layers it runs, and
// what they and the sessions take of its memory.

#include "runtime/gpu_lane.h"
#include "runtime/layer_range.h"
#include "runtime/model_spec.h"
#include "runtime/session_options.h"
#include "runtime/weights.h"

#include <cstdint>

namespace greenroom::runtime {

// Of the scratch memory of any operation of a batch of a session of this plan, where the GPU runs these
// layers.
std::int64_t device_scratch_bytes(const ModelSpec& spec, const Weights& weights, LayerRange layers,
                                  const SessionPlan& plan);

// Of the GPU's memory that the session takes in all.
std::int64_t device_session_bytes(const ModelSpec& spec, const Weights& weights, LayerRange layers,
                                  const SessionPlan& plan);

// Of the GPU's memory that an expert takes at most; 0 for a model without.
std::int64_t largest_expert_bytes(const GpuModel& model);

// GpuLane::plan().
GpuPlan plan_gpu(const GpuModel& model, const GpuOptions& options, const SessionPlan& session,
                 int n_sessions);

}  // namespace greenroom::runtime
