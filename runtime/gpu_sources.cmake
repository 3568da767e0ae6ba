# The sources of the runtime that need streams, device memory and kernels.

set(GREENROOM_RUNTIME_GPU_SOURCES
    device_mover.cpp
    device_weights.cpp
    gpu_lane_cuda.cpp
    gpu_probe_cuda.cpp
    hybrid_experts.cpp
    layer_streamer.cpp
    streamed_experts.cpp
    vram_tier.cpp)
