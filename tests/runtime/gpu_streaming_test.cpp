// Prompts whose layers are streamed through VRAM, on the emulated device: the logits are the reference's,
// however the experts come; a disk that fails, is slow or is given up ends a batch and nothing else.

#include "cache/read_faults.h"
#include "runtime/layer_streamer.h"
#include "tests/gpu/emulation/control.h"
#include "tests/runtime/families.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

namespace greenroom::runtime {
namespace {

using test::Family;

constexpr Family kQwen = {"qwen3moe"};

// Every batch but those of one token is streamed.
LoadOptions streaming() {
    LoadOptions options;
    options.gpu.use = GpuOptions::Use::on;
    options.gpu.stream_above = 0;
    return options;
}

std::unique_ptr<Engine> load(const Family& family, const LoadOptions& options) {
    return Engine::load((test::oracle_of(family).folder / family.file).string(), {2, {}, options});
}

// How the experts come to VRAM.
enum class Coming {
    whole_layers,
    in_chunks,
    beside_slots,        // of which there are some
    from_the_disk,       // a quarter of them is in RAM
    through_little_ram,  // the least
    in_chunks_from_disk,
};

constexpr Coming kComings[] = {Coming::whole_layers,       Coming::in_chunks,
                               Coming::beside_slots,       Coming::from_the_disk,
                               Coming::through_little_ram, Coming::in_chunks_from_disk};

std::string name_of(Coming coming) {
    switch (coming) {
        case Coming::whole_layers:
            return "whole_layers";
        case Coming::in_chunks:
            return "in_chunks";
        case Coming::beside_slots:
            return "beside_slots";
        case Coming::from_the_disk:
            return "from_the_disk";
        case Coming::through_little_ram:
            return "through_little_ram";
        case Coming::in_chunks_from_disk:
            return "in_chunks_from_disk";
    }
    return "";
}

LoadOptions options_for(const Family& family, Coming coming) {
    const auto everything = load(family, streaming());
    const GpuUsage usage = everything->gpu()->usage();
    const std::int64_t in_ram = everything->experts()->plan().total_bytes();
    LoadOptions options = streaming();
    options.gpu.max_expert_bytes = coming == Coming::beside_slots ? usage.expert_bytes / 2 : 1;
    if (coming == Coming::in_chunks || coming == Coming::in_chunks_from_disk)
        options.gpu.max_staging_bytes = usage.staging_bytes / 3;
    if (coming == Coming::from_the_disk || coming == Coming::in_chunks_from_disk)
        options.max_expert_bytes = in_ram / 4;
    if (coming == Coming::through_little_ram) options.max_expert_bytes = 1;
    return options;
}

class GpuStreaming : public testing::TestWithParam<std::tuple<Family, Coming>> {
  protected:
    ~GpuStreaming() override { emulation::reset(); }
};

TEST_P(GpuStreaming, LogitsAreTheReferences) {
    const auto& [family, coming] = GetParam();
    const test::OracleModel oracle = test::oracle_of(family);
    const auto engine = load(family, options_for(family, coming));
    for (const char* prompt : {"p1", "p2"}) {
        test::expect_logits(oracle, *engine, prompt, family.logits, family.max_difference);
        // Batches small enough that experts come in between.
        const auto tokens = oracle.ids(std::string("tokens_") + prompt).values;
        const auto reference = oracle.floats(std::string(family.logits) + prompt);
        EXPECT_LE(test::max_abs_difference(reference.values, test::all_logits(*engine, tokens, 7)),
                  family.max_difference);
    }
    const VramCounters counters = engine->gpu()->usage().experts;
    EXPECT_GT(counters.n_batches_streamed, 2);
    EXPECT_GT(counters.n_bytes_streamed, 0);
    EXPECT_GT(counters.n_gpu_calls, 0);
    EXPECT_EQ(engine->gpu()->usage().n_on_stage > 0, coming == Coming::beside_slots);
    if (coming == Coming::from_the_disk) {
        EXPECT_GT(engine->experts()->cache().total().n_bytes_read, 0);
    }
}

INSTANTIATE_TEST_SUITE_P(Family, GpuStreaming,
                         testing::Combine(testing::Values(Family{"deepseek2"}, test::kGptOss,
                                                          Family{"llama4"},
                                                          Family{"mixtral", "model-f16.gguf"}, kQwen,
                                                          Family{"qwen35moe", "model-bf16.gguf", "logits_",
                                                                 test::kMaxRecurrentLogitDifference}),
                                          testing::ValuesIn(kComings)),
                         [](const auto& param) {
                             return test::family_name(std::get<0>(param.param)) + "_" +
                                    name_of(std::get<1>(param.param));
                         });

class GpuStreams : public testing::Test {
  protected:
    ~GpuStreams() override { emulation::reset(); }

    void expect_reference(const Engine& engine) const {
        test::expect_logits(oracle_, engine, "p1", kQwen.logits);
    }

    const test::OracleModel oracle_ = test::oracle_of(kQwen);
    const std::vector<text::TokenId> prompt_ = oracle_.ids("tokens_p1").values;
};

std::int64_t bytes_of_all_experts(const Engine& engine) {
    std::int64_t bytes = 0;
    for (const cache::SlotLayout& slot : engine.experts()->layouts().slots())
        for (const cache::SlotPart& part : slot.parts()) bytes += part.range.bytes;
    return bytes;
}

TEST_F(GpuStreams, ABatchCopiesWhatHasNoSlotOnceAndAsksTheCpuForNothing) {
    const auto engine = load(kQwen, options_for(kQwen, Coming::in_chunks));
    Session session(*engine, test::exact_session(64, 8));
    session.evaluate(std::span(prompt_).first(16));
    const VramCounters counters = engine->gpu()->usage().experts;
    EXPECT_EQ(counters.n_batches_streamed, 2);
    EXPECT_EQ(counters.n_bytes_streamed, 2 * bytes_of_all_experts(*engine));
    EXPECT_EQ(counters.n_cpu_calls, 0);
    EXPECT_EQ(counters.n_hits + counters.n_misses, 0);
    const auto& layouts = engine->experts()->layouts();
    EXPECT_EQ(counters.n_gpu_calls, 16 * layouts.n_layers() * layouts.top_k());
    EXPECT_GE(counters.n_bytes_over_link(), counters.n_bytes_streamed);
}

TEST_F(GpuStreams, OnlyBatchesAboveTheCrossoverAreStreamed) {
    LoadOptions options = options_for(kQwen, Coming::whole_layers);
    const auto all = load(kQwen, options);
    const double of_eight = tokens_per_expert(all->experts()->layouts(), 8);
    options.gpu.stream_above = of_eight;
    const auto engine = load(kQwen, options);
    const auto n_streamed = [&] { return engine->gpu()->usage().experts.n_batches_streamed; };
    Session session(*engine, test::exact_session(64, 9));
    session.evaluate(std::span(prompt_).first(8));
    EXPECT_EQ(n_streamed(), 0);
    EXPECT_GT(engine->gpu()->usage().experts.n_cpu_calls, 0);
    session.evaluate(std::span(prompt_).subspan(8, 9));
    EXPECT_EQ(n_streamed(), 1);
    session.evaluate(std::span(prompt_).subspan(17, 1));
    EXPECT_EQ(n_streamed(), 1);
    expect_reference(*engine);

    // Where no batch can be, no memory is taken for it.
    options.gpu.stream_above = GpuOptions::kNeverStream;
    EXPECT_EQ(load(kQwen, options)->gpu()->usage().staging_bytes, 0);
    EXPECT_GT(engine->gpu()->usage().staging_bytes, 0);
}

TEST_F(GpuStreams, TooLittleMemoryForAChunkStreamsNothing) {
    LoadOptions options = options_for(kQwen, Coming::whole_layers);
    options.gpu.max_staging_bytes = 4096;
    const auto engine = load(kQwen, options);
    expect_reference(*engine);
    EXPECT_EQ(engine->gpu()->usage().staging_bytes, 0);
    EXPECT_EQ(engine->gpu()->usage().experts.n_batches_streamed, 0);
}

TEST_F(GpuStreams, StagingIsCountedAgainstTheBudget) {
    LoadOptions options = streaming();
    options.session = test::exact_session(64, 8);
    {
        const auto everything = load(kQwen, options);
        Session session(*everything, options.session);
        options.gpu.vram_bytes =
            emulation::device_bytes_in_use() - everything->gpu()->usage().expert_bytes / 2;
    }
    const auto engine = load(kQwen, options);
    Session session(*engine, options.session);
    const GpuUsage usage = engine->gpu()->usage();
    EXPECT_GT(usage.staging_bytes, 0);
    EXPECT_GT(usage.expert_bytes, 0);
    EXPECT_LE(emulation::device_bytes_in_use(), options.gpu.vram_bytes);
    session.evaluate(std::span(prompt_).first(16));
    EXPECT_GT(engine->gpu()->usage().experts.n_batches_streamed, 0);
}

TEST_F(GpuStreams, WhatAPromptHasCalledComesToItsSlots) {
    const auto engine = load(kQwen, options_for(kQwen, Coming::beside_slots));
    Session session(*engine, test::exact_session(64, 8));
    session.evaluate(std::span(prompt_).first(17));  // and a token by itself
    EXPECT_GT(engine->gpu()->usage().experts.n_uploads, 0);
    EXPECT_GT(engine->gpu()->usage().experts.n_hits, 0);
}

TEST_F(GpuStreams, SlowCopiesAndSlowKernelsChangeNothing) {
    for (const Coming coming : {Coming::in_chunks, Coming::through_little_ram}) {
        const auto engine = load(kQwen, options_for(kQwen, coming));
        emulation::set_copy_delay_us(200);
        expect_reference(*engine);
        emulation::set_copy_delay_us(0);
        emulation::set_kernel_delay_us(500);
        expect_reference(*engine);
        emulation::set_kernel_delay_us(0);
    }
}

TEST_F(GpuStreams, MemoryThatCannotBePinnedIsCopiedAllTheSame) {
    const LoadOptions options = options_for(kQwen, Coming::in_chunks);
    constexpr int kOutOfMemory = 2;
    emulation::fail_call("cudaHostRegister", kOutOfMemory);
    const auto engine = load(kQwen, options);
    expect_reference(*engine);
    EXPECT_GT(engine->gpu()->usage().experts.n_batches_streamed, 0);
}

TEST_F(GpuStreams, SessionsTakeTurns) {
    const auto engine = load(kQwen, options_for(kQwen, Coming::in_chunks_from_disk));
    const auto reference = load(kQwen, {});
    const SessionOptions options = test::exact_session(64, 8);
    std::vector<std::unique_ptr<Session>> sessions;
    std::vector<std::unique_ptr<Session>> alone;
    for (int i = 0; i < 2; ++i) {
        sessions.push_back(std::make_unique<Session>(*engine, options));
        alone.push_back(std::make_unique<Session>(*reference, options));
    }
    std::vector<text::TokenId> tokens(5);
    for (int step = 0; step < 6; ++step)
        for (std::size_t i = 0; i < sessions.size(); ++i) {
            std::iota(tokens.begin(), tokens.end(), 7 * step + static_cast<int>(i));
            const std::size_t n = step % 3 == 2 ? 1 : tokens.size();
            for (Session* session : {sessions[i].get(), alone[i].get()})
                session->evaluate(std::span(tokens).first(n));
            EXPECT_LE(test::max_abs_difference(sessions[i]->logits(), alone[i]->logits()),
                      test::kMaxLogitDifference)
                << "session " << i << ", step " << step;
        }
}

TEST_F(GpuStreams, AFailedReadEndsTheBatchAndTheNextOneWorks) {
    for (const Coming coming : {Coming::through_little_ram, Coming::in_chunks_from_disk}) {
        LoadOptions options = options_for(kQwen, coming);
        cache::ReadFaults faults("eio@*97");
        options.reader.faults = &faults;
        const auto engine = load(kQwen, options);
        Session session(*engine, test::exact_session(64, 8));
        int n_failed = 0;
        while (session.n_tokens() < std::ssize(prompt_) && n_failed < 200) {
            const auto done = static_cast<std::size_t>(session.n_tokens());
            try {
                session.evaluate(std::span(prompt_).subspan(done));
            } catch (const Error& error) {
                EXPECT_EQ(error.kind(), ErrorKind::io) << error.what();
                ++n_failed;
            }
        }
        EXPECT_GT(n_failed, 0);
        ASSERT_EQ(session.n_tokens(), std::ssize(prompt_));
        const auto reference = oracle_.floats("logits_p1");
        const auto last = std::span(reference.values).last(static_cast<std::size_t>(reference.dim(1)));
        EXPECT_LE(test::max_abs_difference(last, session.logits()), test::kMaxLogitDifference);
    }
}

TEST_F(GpuStreams, ABatchThatWaitsForTheDiskIsCancelled) {
    LoadOptions options = options_for(kQwen, Coming::through_little_ram);
    cache::ReadFaults faults("delay_ms=30@1+");
    options.reader.faults = &faults;
    const auto engine = load(kQwen, options);
    Session session(*engine, test::exact_session(64, 8));
    std::atomic<bool> cancelled{false};
    EvaluateOptions evaluate;
    evaluate.cancelled = &cancelled;
    std::jthread stop([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(60));
        cancelled = true;
    });
    EXPECT_EQ(session.evaluate(std::span(prompt_).first(8), evaluate), Evaluated::cancelled);
    EXPECT_EQ(session.n_tokens(), 0);
    stop.join();
    // Token by token: nothing is held any more.
    const auto token = prompt_.front();
    EXPECT_EQ(session.evaluate({&token, 1}), Evaluated::done);
}

}  // namespace
}  // namespace greenroom::runtime
