#include "tests/structure/include_rules.h"

#include <gtest/gtest.h>

namespace greenroom::test {
namespace {

struct Case {
    const char* path;
    const char* line;
    bool allowed;
};

TEST(IncludeRules, KnowTheArrows) {
    const Case cases[] = {
        {"tools/main.cpp", "#include \"runtime/engine.h\"", true},
        {"runtime/scheduler.cpp", "#include \"cache/tier.h\"", true},
        {"runtime/scheduler.cpp", "#include \"tools/args.h\"", false},
        {"cpu/ops.h", "#include \"quant/types.h\"", true},
        {"cpu/ops.h", "#include \"gpu/device.h\"", false},
        {"gpu/ops.h", "#include \"cache/tier.h\"", false},
        {"cache/tier.h", "#include \"cpu/ops.h\"", false},
        {"quant/gguf.cpp", "#include \"cpu/ops.h\"", false},
        {"quant/base/log.h", "#include \"quant/base/error.h\"", true},
        {"quant/base/log.h", "#include \"quant/types.h\"", true},
        {"quant/base/log.h", "#include \"quant/gguf.h\"", false},
        {"quant/gguf.h", "#include \"tests/support/npy.h\"", false},
        {"tests/cpu/ops_test.cpp", "#include \"gpu/device.h\"", true},  // the linker sees to the tests
    };
    for (const Case& c : cases)
        EXPECT_EQ(broken_include_rules(c.path, c.line).empty(), c.allowed) << c.path << ": " << c.line;
}

TEST(IncludeRules, SeeEveryWayOfWritingAnInclude) {
    for (const char* line : {"  #  include  \"gpu/device.h\"", "#include <gpu/device.h>",
                             "#include\"gpu/device.h\"", "#include \"gpu/device.h\"  // why"})
        EXPECT_EQ(broken_include_rules("cpu/ops.h", line).size(), 1U) << line;
    for (const char* line :
         {"// #include \"gpu/device.h\"", "#define include \"gpu/device.h\"", "#include MACRO", "#"})
        EXPECT_TRUE(broken_include_rules("cpu/ops.h", line).empty()) << line;
    EXPECT_EQ(
        broken_include_rules("cpu/ops.h", "#include \"device.h\"\n#include \"../gpu/device.h\"\n").size(),
        2U);
}

TEST(IncludeRules, KeepForeignTypesOutOfHeaders) {
    EXPECT_EQ(broken_include_rules("cpu/topology.h", "#include <hwloc.h>").size(), 1U);
    EXPECT_TRUE(broken_include_rules("cpu/topology.cpp", "#include <hwloc.h>").empty());
    EXPECT_EQ(broken_include_rules("gpu/stream.h", "#include <cuda_runtime.h>").size(), 1U);
    EXPECT_TRUE(broken_include_rules("gpu/device.cuh", "#include <cuda_runtime.h>").empty());
    EXPECT_EQ(broken_include_rules("gpu/kernels/add.cu", "#include <cuda_runtime.h>").size(), 1U);
    EXPECT_EQ(broken_include_rules("gpu/kernels/add.h", "#include \"gpu/device.cuh\"").size(), 1U);
    EXPECT_EQ(broken_include_rules("gpu/memory.cpp", "#include \"gpu/device.cuh\"").size(), 1U);
    EXPECT_TRUE(broken_include_rules("gpu/kernels/add.cu", "#include \"gpu/device.cuh\"").empty());
    EXPECT_TRUE(broken_include_rules("cpu/ops.h", "#include <span>\n#include <fmt/format.h>").empty());
}

TEST(KernelRules, KeepKernelsReadableForBothCompilers) {
    for (const char* line : {"    add_kernel<<<1, 32>>>(x);", "#ifdef __CUDACC__", "#if __CUDA_ARCH__ >= 800",
                             "v = __shfl_sync(m, v, 0);", "asm volatile(\"\");",
                             "extern __shared__ float x[];", "#ifdef GREENROOM_CUDA_EMULATION"})
        EXPECT_EQ(broken_kernel_rules("gpu/kernels/add.cu", line).size(), 1U) << line;
    for (const char* line :
         {"// no <<<>>> here", "int plasma = 1;", "v = shuffle(v, 0);", "__shared__ float x[32];"})
        EXPECT_TRUE(broken_kernel_rules("gpu/kernels/add.cu", line).empty()) << line;
    EXPECT_TRUE(broken_kernel_rules("gpu/device.cuh", "#ifdef GREENROOM_CUDA_EMULATION").empty());
}

TEST(IncludeRules, SayWhichLineBreaksWhichRule) {
    EXPECT_EQ(
        broken_include_rules("cpu/ops.h", "#pragma once\n\n#include \"gpu/device.h\"\n"),
        std::vector<std::string>{"cpu/ops.h:3: includes gpu/device.h: cpu/ may include cpu/, quant/ only"});
}

}  // namespace
}  // namespace greenroom::test
