# The sources of the runtime that need streams, device memory and kernels.

set(GREENROOM_RUNTIME_GPU_SOURCES
    device_mover.cpp
    device_weights.cpp
    gpu_lane_cuda.cpp
    gpu_plan.cpp
    gpu_probe_cuda.cpp
    hybrid_experts.cpp
    split_evaluator.cpp
    staged_upload.cpp
    vram_tier.cpp)
