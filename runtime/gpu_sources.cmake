# The sources of the runtime that need streams, device memory and kernels.

set(GREENROOM_RUNTIME_GPU_SOURCES
    decode_graph.cpp
    device_mover.cpp
    device_weights.cpp
    gpu_lane_cuda.cpp
    gpu_plan.cpp
    gpu_probe_cuda.cpp
    graphed_evaluator.cpp
    graphed_experts.cpp
    hand_over.cpp
    hybrid_experts.cpp
    layer_streamer.cpp
    pinned_experts.cpp
    split_evaluator.cpp
    staged_copies.cpp
    staged_upload.cpp
    staging_ring.cpp
    streamed_experts.cpp
    vram_tier.cpp)
