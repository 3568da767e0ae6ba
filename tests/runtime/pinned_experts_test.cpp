// Engines whose experts in RAM can be pinned wholly, in part or not at all, on the emulated device: the same
// results, honest figures, and no more memory than was said.

#include "runtime/pinned_experts.h"

#include "runtime/device_mover.h"
#include "tests/gpu/emulation/control.h"
#include "tests/runtime/families.h"
#include "tests/runtime/session_values.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace greenroom::runtime {
namespace {

using test::Family;

constexpr Family kFamily{"qwen3moe"};

enum class Pinned { all, some, none, not_even_a_ring };

constexpr Pinned kPinned[] = {Pinned::all, Pinned::some, Pinned::none, Pinned::not_even_a_ring};

std::unique_ptr<Engine> load(const LoadOptions& options) {
    return Engine::load((test::oracle_of(kFamily).folder / kFamily.file).string(), {2, {}, options});
}

LoadOptions on_gpu() {
    LoadOptions options;
    options.gpu.use = GpuOptions::Use::on;
    options.gpu.stream_above = GpuOptions::kNeverStream;
    options.session = test::exact_session(64, 8);
    return options;
}

// Nothing in slots: what is computed does not depend on when copies are done.
LoadOptions all_streamed() {
    LoadOptions options = on_gpu();
    options.gpu.stream_above = 0;
    options.gpu.max_expert_bytes = 1;
    return options;
}

class PinnedExpertsTest : public testing::Test {
  protected:
    PinnedExpertsTest() {
        lines().clear();
        set_log_sink([](LogLevel level, std::string_view line) {
            if (level == LogLevel::warning) lines().emplace_back(line);
        });
    }
    ~PinnedExpertsTest() override {
        set_log_sink(nullptr);
        emulation::reset();
    }

    static std::vector<std::string>& lines() {
        static std::vector<std::string> all;
        return all;
    }

    static std::int64_t ring_bytes(const Engine& engine) {
        std::int64_t largest = 0;
        const ExpertLayouts& layouts = engine.experts()->layouts();
        for (int ordinal = 0; ordinal < layouts.n_layers(); ++ordinal) {
            const LayerWeights& layer =
                engine.weights().layers[static_cast<std::size_t>(layouts.layer(ordinal))];
            const VramSlotLayout slot(std::get<MoeFfnWeights>(layer.ffn).experts.front());
            largest = std::max(largest, slot.slot_bytes);
        }
        return StagedCopies::bytes_needed(largest);
    }

    // Loads where so much can be pinned, which is all that there is a while later.
    std::unique_ptr<Engine> load_where(Pinned pinned, const LoadOptions& options) {
        if (pinned != Pinned::all) {
            const auto everything = load(options);
            const std::int64_t slots = everything->gpu()->usage().ram_pinned_bytes;
            const std::int64_t others = emulation::pinned_bytes_in_use() - slots;
            const std::int64_t ring = ring_bytes(*everything);
            const SessionPlan session = plan_session(everything->spec(), "", options.session, 2);
            const std::int64_t of_session = session.memory.beside_gpu_bytes;
            emulation::set_pinned_limit_bytes(pinned == Pinned::some ? others + ring + of_session + slots / 2
                                              : pinned == Pinned::none ? others + ring + 1024
                                                                       : others + 1024);
        }
        lines().clear();
        auto engine = load(options);
        emulation::set_pinned_limit_bytes(std::int64_t{1} << 40);
        return engine;
    }

    const test::OracleModel oracle_ = test::oracle_of(kFamily);
    const std::vector<text::TokenId> prompt_ = oracle_.ids("tokens_p1").values;
};

TEST_F(PinnedExpertsTest, PromptsAreTheSameBitsHoweverExpertsAreCopied) {
    std::vector<float> expected;
    for (const Pinned pinned : kPinned) {
        SCOPED_TRACE(static_cast<int>(pinned));
        const auto engine = load_where(pinned, all_streamed());
        for (const int delay_us : {0, 300}) {
            emulation::set_copy_delay_us(delay_us);
            const auto logits = test::all_logits(*engine, prompt_, 7);
            if (expected.empty()) expected = logits;
            EXPECT_EQ(logits, expected) << delay_us;
        }
        emulation::set_copy_delay_us(0);
        EXPECT_GT(engine->gpu()->usage().experts.n_batches_streamed, 0);
    }
    const auto reference = oracle_.floats("logits_p1");
    EXPECT_LE(test::max_abs_difference(reference.values, expected), kFamily.max_difference);
}

TEST_F(PinnedExpertsTest, TokensAreTheSameHoweverExpertsAreCopied) {
    for (const Pinned pinned : kPinned) {
        SCOPED_TRACE(static_cast<int>(pinned));
        LoadOptions options = on_gpu();
        options.gpu.tuning = GpuTuning{.upload_share = 1,
                                       .crossover_tokens = kNoCrossover,
                                       .staged_upload_share = 1,
                                       .staged_crossover_tokens = kNoCrossover};
        const auto engine = load_where(pinned, options);
        for (const int delay_us : {0, 200}) {
            emulation::set_copy_delay_us(delay_us);
            test::expect_greedy(oracle_, *engine, "p1");
            test::expect_logits(oracle_, *engine, "p1", kFamily.logits);
        }
        emulation::set_copy_delay_us(0);
        EXPECT_GT(engine->gpu()->usage().experts.n_uploads, 0);
        EXPECT_GT(engine->gpu()->usage().experts.n_hits, 0);
    }
}

TEST_F(PinnedExpertsTest, WhatIsSaidOfBytesIsWhatWasCopied) {
    for (const Pinned pinned : kPinned) {
        SCOPED_TRACE(static_cast<int>(pinned));
        const auto engine = load_where(pinned, all_streamed());
        test::all_logits(*engine, prompt_, 8);
        const GpuUsage usage = engine->gpu()->usage();
        const VramCounters& c = usage.experts;
        EXPECT_EQ(usage.ram_slot_bytes, engine->experts()->plan().total_bytes());
        EXPECT_EQ(usage.ram_pinned_bytes == usage.ram_slot_bytes, pinned == Pinned::all);
        EXPECT_EQ(usage.ram_pinned_bytes > 0, pinned == Pinned::all || pinned == Pinned::some);
        const bool has_ring = pinned == Pinned::some || pinned == Pinned::none;
        EXPECT_EQ(usage.ring_bytes, has_ring ? ring_bytes(*engine) : 0);
        EXPECT_EQ(c.n_bytes_staged > 0, has_ring);
        EXPECT_EQ(c.n_bytes_staged == c.n_bytes_streamed, pinned == Pinned::none);
        EXPECT_EQ(c.n_bytes_pageable, pinned == Pinned::not_even_a_ring ? c.n_bytes_streamed : 0);
    }
}

TEST_F(PinnedExpertsTest, OneWarningSaysWhatIsNotPinnedAndWhatToDo) {
    load_where(Pinned::all, on_gpu());
    EXPECT_TRUE(lines().empty());
    for (const Pinned pinned : {Pinned::some, Pinned::none, Pinned::not_even_a_ring}) {
        load_where(pinned, on_gpu());
        std::vector<std::string> of_experts;
        for (const std::string& line : lines())
            if (line.starts_with("experts in RAM")) of_experts.push_back(line);
        ASSERT_EQ(of_experts.size(), 1U);
        for (const std::string_view part :
             {" MiB can be pinned", "ulimit -l", pinned == Pinned::not_even_a_ring ? "pageable" : "through"})
            EXPECT_NE(of_experts[0].find(part), std::string::npos) << of_experts[0];
    }
}

// What sessions pin when they are made is left to them, from the slots' part and from that of nobody.
TEST_F(PinnedExpertsTest, SlotsLeaveSessionsWhatTheyPin) {
    const LoadOptions options = on_gpu();
    std::int64_t slots = 0;
    std::int64_t least = 0;
    {
        const auto everything = load(options);
        slots = everything->gpu()->usage().ram_pinned_bytes;
        const Session session(*everything, options.session);
        least = emulation::pinned_bytes_in_use() + ring_bytes(*everything) - slots;
    }
    bool were_some = false;
    bool were_none = false;
    for (std::int64_t limit = least; !were_some; limit += slots / 4) {
        emulation::set_pinned_limit_bytes(limit);
        const auto engine = load(options);
        const std::int64_t pinned = engine->gpu()->usage().ram_pinned_bytes;
        ASSERT_LT(pinned, slots);
        (pinned > 0 ? were_some : were_none) = true;
        Session session(*engine, options.session);
        session.evaluate(std::span(prompt_).first(9));
        EXPECT_LE(emulation::pinned_bytes_in_use(), limit);
    }
    EXPECT_TRUE(were_none);
}

TEST_F(PinnedExpertsTest, TheRuleIsThatOfTheWayThatExpertsTake) {
    LoadOptions options = on_gpu();
    options.gpu.stream_above.reset();
    options.gpu.tuning = GpuTuning{.upload_share = 0.8,
                                   .crossover_tokens = 10,
                                   .staged_upload_share = 0.4,
                                   .staged_crossover_tokens = 30};
    const auto usage = [&](Pinned pinned) { return load_where(pinned, options)->gpu()->usage(); };
    EXPECT_EQ(usage(Pinned::all).upload_share, 0.8);
    EXPECT_EQ(usage(Pinned::all).stream_above, 10);
    const GpuUsage some = usage(Pinned::some);
    const double share =
        static_cast<double>(some.ram_pinned_bytes) / static_cast<double>(some.ram_slot_bytes);
    EXPECT_DOUBLE_EQ(some.upload_share, share * 0.8 + (1 - share) * 0.4);
    EXPECT_DOUBLE_EQ(some.stream_above, share * 10 + (1 - share) * 30);
    EXPECT_EQ(usage(Pinned::none).upload_share, 0.4);
    EXPECT_EQ(usage(Pinned::none).stream_above, 30);
    EXPECT_EQ(usage(Pinned::not_even_a_ring).upload_share, 0);
    EXPECT_EQ(usage(Pinned::not_even_a_ring).stream_above, 30);
}

TEST_F(PinnedExpertsTest, ThePlanCountsTheRing) {
    const auto engine = load_where(Pinned::all, on_gpu());
    EXPECT_EQ(engine->gpu()->usage().ring_bytes, 0);  // and it is not kept for nothing
    const LoadOptions options = on_gpu();
    const GpuModel model{engine->file(), engine->spec(), engine->weights(),
                         nullptr,        nullptr,        engine->threads()};
    const SessionPlan session = plan_session(engine->spec(), "", options.session, 2);
    EXPECT_EQ(GpuLane::plan(model, options.gpu, session, 1).ring_bytes, ring_bytes(*engine));
}

TEST_F(PinnedExpertsTest, NothingIsPinnedWhereNothingIsCopied) {
    LoadOptions options = on_gpu();
    options.gpu.max_expert_bytes = 1;
    const auto engine = load_where(Pinned::all, options);
    EXPECT_EQ(engine->gpu()->usage().ram_pinned_bytes, 0);
    EXPECT_TRUE(lines().empty());
    test::expect_logits(oracle_, *engine, "p1", kFamily.logits);
}

TEST_F(PinnedExpertsTest, ABatchThatFailsOrIsCancelledEndsAndTheNextOneWorks) {
    constexpr int kInvalidValue = 1;
    for (const Pinned pinned : {Pinned::some, Pinned::none}) {
        const auto engine = load_where(pinned, all_streamed());
        Session session(*engine, test::exact_session(64, 8));
        emulation::set_copy_delay_us(500);
        emulation::fail_call("cudaLaunchHostFunc", kInvalidValue, 5);
        test::expect_error(ErrorKind::device, {"having the host called"},
                           [&] { session.evaluate(std::span(prompt_).first(8)); });
        EXPECT_EQ(session.n_tokens(), 0);
        std::atomic<bool> cancelled{true};
        EvaluateOptions evaluate;
        evaluate.cancelled = &cancelled;
        EXPECT_EQ(session.evaluate(std::span(prompt_).first(8), evaluate), Evaluated::cancelled);
        test::expect_logits(oracle_, *engine, "p1", kFamily.logits);
        emulation::set_copy_delay_us(0);
    }
}

TEST_F(PinnedExpertsTest, EverythingIsGivenBack) {
    for (const Pinned pinned : kPinned) {
        {
            const auto engine = load_where(pinned, on_gpu());
            Session session(*engine, test::exact_session(64, 8));
            emulation::set_copy_delay_us(300);
            session.evaluate(prompt_);
        }
        emulation::set_copy_delay_us(0);
        EXPECT_EQ(emulation::pinned_bytes_in_use(), 0);
        EXPECT_EQ(emulation::device_bytes_in_use(), 0);
    }
}

}  // namespace
}  // namespace greenroom::runtime
