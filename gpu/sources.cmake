# The sources of the GPU layer, by name: gpu/CMakeLists.txt compiles them with nvcc, tests/gpu/CMakeLists.txt with the
# host's compiler against the emulation.

set(GREENROOM_GPU_SOURCES
    cuda_check.cpp
    device_cuda.cpp
    kernels/matmul.cpp
    launch_check.cpp
    memory.cpp
    ops.cpp
    stream.cpp)

# A kernel file is a line here, and its test a line in tests/gpu/CMakeLists.txt.
set(GREENROOM_GPU_KERNELS
    kernels/attention.cu
    kernels/calls.cu
    kernels/deltanet.cu
    kernels/elementwise.cu
    kernels/embed.cu
    kernels/expert_ffn.cu
    kernels/expert_rows_float.cu
    kernels/expert_rows_integer.cu
    kernels/expert_tiles.cu
    kernels/gemm.cu
    kernels/gemm_transposed.cu
    kernels/half_rows.cu
    kernels/indexer.cu
    kernels/kv_rows.cu
    kernels/matvec.cu
    kernels/matvec_float.cu
    kernels/matvec_integer.cu
    kernels/matvec_transposed.cu
    kernels/mla.cu
    kernels/quantize.cu
    kernels/rope.cu
    kernels/router.cu
    kernels/top_candidates.cu)
