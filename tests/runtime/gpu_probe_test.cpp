// What `tune` measures of a GPU, on the emulated one: that all of it is done, and how it fails.

#include "runtime/gpu_probe.h"

#include "tests/gpu/emulation/control.h"
#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>

namespace greenroom::runtime {
namespace {

GpuProbeOptions small_probe() {
    GpuProbeOptions options;
    options.expert_bytes = 200'000;
    options.copy_bytes = 1 << 20;
    options.n_hand_overs = 5;
    return options;
}

TEST(GpuProbe, MeasuresCopiesTogetherAndApartAndTheHandOver) {
    emulation::reset();
    GpuProbeOptions options = small_probe();
    bool host_was_asked = false;
    options.read_host = [&](const std::function<bool()>& done) {
        host_was_asked = true;
        std::int64_t bytes = 0;
        while (!done()) bytes += 1000;
        return bytes + 1000;
    };
    const auto measured = probe_gpu(options);
    ASSERT_TRUE(measured);
    EXPECT_TRUE(host_was_asked);
    EXPECT_GT(measured->pinned_upload, 0);
    EXPECT_GT(measured->pageable_upload, 0);
    EXPECT_GT(measured->staged_upload, 0);
    EXPECT_GT(measured->shared_staged_upload, 0);
    EXPECT_GT(measured->shared_staged_dram_read, 0);
    EXPECT_GT(measured->shared_upload, 0);
    EXPECT_GT(measured->shared_dram_read, 0);
    EXPECT_GT(measured->vram_copy, 0);
    EXPECT_GT(measured->hand_over_s, 0);
    EXPECT_EQ(emulation::fault(), "");
    EXPECT_EQ(emulation::device_bytes_in_use(), 0);
    EXPECT_EQ(emulation::pinned_bytes_in_use(), 0);
}

TEST(GpuProbe, TheLinkAloneIsMeasuredWithoutTheRest) {
    emulation::reset();
    GpuProbeOptions options = small_probe();
    options.what = GpuProbeOptions::What::the_link;
    options.read_host = [](const std::function<bool()>& done) {
        std::int64_t bytes = 1000;
        while (!done()) bytes += 1000;
        return bytes;
    };
    const auto measured = probe_gpu(options);
    ASSERT_TRUE(measured);
    EXPECT_GT(measured->pinned_upload, 0);
    EXPECT_GT(measured->staged_upload, 0);
    EXPECT_GT(measured->shared_upload, 0);
    EXPECT_GT(measured->shared_dram_read, 0);
    EXPECT_GT(measured->shared_staged_upload, 0);
    EXPECT_GT(measured->shared_staged_dram_read, 0);
    EXPECT_EQ(measured->pageable_upload, 0);
    EXPECT_EQ(measured->hand_over_s, 0);
    EXPECT_EQ(emulation::counts().kernels, 0);
    EXPECT_EQ(emulation::device_bytes_in_use(), 0);
}

TEST(GpuProbe, SlowKernelsMakeTheHandOverSlow) {
    emulation::reset();
    emulation::set_kernel_delay_us(2000);
    const auto measured = probe_gpu(small_probe());
    emulation::reset();
    ASSERT_TRUE(measured);
    EXPECT_GT(measured->hand_over_s, 2e-3);
    EXPECT_EQ(measured->shared_upload, 0);  // nobody reads meanwhile
}

TEST(GpuProbe, ThereIsNothingToMeasureWithoutADevice) {
    emulation::reset();
    emulation::set_vram_bytes(0);
    EXPECT_FALSE(probe_gpu(small_probe()));
    emulation::reset();
}

TEST(GpuProbe, WhereLittleCanBePinnedLittleIsCopied) {
    emulation::reset();
    GpuProbeOptions options = small_probe();
    options.what = GpuProbeOptions::What::the_link;
    options.copy_bytes = 32 << 20;
    emulation::set_pinned_limit_bytes(6 << 20);
    const auto measured = probe_gpu(options);
    ASSERT_TRUE(measured);
    EXPECT_GT(measured->pinned_upload, 0);
    EXPECT_GT(measured->staged_upload, 0);
    EXPECT_EQ(emulation::pinned_bytes_in_use(), 0);

    // Not even the pieces of a large expert.
    options.expert_bytes = 8 << 20;
    const auto without_pieces = probe_gpu(options);
    emulation::reset();
    ASSERT_TRUE(without_pieces);
    EXPECT_GT(without_pieces->pinned_upload, 0);
    EXPECT_EQ(without_pieces->staged_upload, 0);
}

TEST(GpuProbe, AnErrorOfTheDeviceIsThrownAndNothingIsKept) {
    emulation::reset();
    emulation::set_pinned_limit_bytes(0);
    EXPECT_THROW(probe_gpu(small_probe()), Error);
    emulation::reset();
    EXPECT_EQ(emulation::device_bytes_in_use(), 0);
}

TEST(GpuProbe, NamesOfGpusComeFromTheDriversFiles) {
    const test::TempDir folder;
    EXPECT_EQ(installed_gpus(folder.file("missing")), "");
    for (const char* name : {"B", "A"}) {
        std::filesystem::create_directories(folder.path() / name);
        std::ofstream(folder.path() / name / "information")
            << "Model: \t\t NVIDIA " << name << "\nIRQ:   \t\t 1\n";
    }
    EXPECT_EQ(installed_gpus(folder.path().string()), "NVIDIA A + NVIDIA B");
}

}  // namespace
}  // namespace greenroom::runtime
