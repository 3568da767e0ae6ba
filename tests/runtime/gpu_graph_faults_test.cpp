// What goes wrong in the middle of a step that is a CUDA graph, or keeps it from becoming one: the step ends,
// is not part of the sequence, and nothing else is lost. On the emulated device, with all layers on the GPU
// and with some.

#include "cache/read_faults.h"
#include "quant/base/log.h"
#include "tests/gpu/emulation/control.h"
#include "tests/runtime/graphed_twins.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>
#include <thread>

namespace greenroom::runtime {
namespace {

using namespace std::chrono_literals;

class GpuGraphFaults : public testing::TestWithParam<Portion> {
  protected:
    ~GpuGraphFaults() override {
        set_log_sink(nullptr);
        emulation::reset();
    }

    std::unique_ptr<Engine> load_portion(const LoadOptions& options) const {
        return load(family_, with_portion(family_, GetParam(), options));
    }

    const Family family_{"deepseek2"};  // a dense layer, and two with experts
    const SessionOptions session_ = test::exact_session(40, 8);
};

INSTANTIATE_TEST_SUITE_P(Gpu, GpuGraphFaults,
                         testing::Values(Portion::all, Portion::all_but_first, Portion::half),
                         [](const auto& param) { return portion_name(param.param); });

TEST_P(GpuGraphFaults, AReadThatFailsEndsTheStepAndNothingElse) {
    cache::ReadFaults faults("eio@*101");
    const auto faulty = load_portion(tight(&faults));
    const auto sound = load_portion(tight(nullptr));
    Session session(*faulty, session_);
    Session expected(*sound, session_);
    const auto tokens = numbers(10, 30);
    int n_failed = 0;
    for (const text::TokenId token : tokens) {
        for (;;) {
            const std::int64_t n_before = session.n_tokens();
            try {
                session.evaluate({&token, 1});
                break;
            } catch (const Error& error) {
                ASSERT_EQ(error.kind(), ErrorKind::io) << error.what();
                ASSERT_EQ(session.n_tokens(), n_before);
                ASSERT_LT(++n_failed, 200);
            }
        }
        expected.evaluate({&token, 1});
        ASSERT_EQ(logits_of(session), logits_of(expected));
    }
    EXPECT_GT(n_failed, 1);
    EXPECT_GT(emulation::counts().graph_launches, 2 * static_cast<std::int64_t>(tokens.size()) - 4);
}

// Does something so long after the GPU has begun with a step.
class OnceBegun {
  public:
    template <class Do>
    OnceBegun(std::chrono::milliseconds later, Do what)
        : thread_([later, what, n_before = emulation::counts().kernels] {
              while (emulation::counts().kernels == n_before) std::this_thread::yield();
              std::this_thread::sleep_for(later);
              what();
          }) {}
    ~OnceBegun() { thread_.join(); }
    OnceBegun(const OnceBegun&) = delete;
    OnceBegun& operator=(const OnceBegun&) = delete;

  private:
    std::thread thread_;
};

// Cancels the step; returns whether that came before its end.
Evaluated evaluate_cancelled(Session& session, text::TokenId token, std::chrono::milliseconds later) {
    std::atomic<bool> cancelled{false};
    EvaluateOptions options;
    options.cancelled = &cancelled;
    const OnceBegun killer(later, [&cancelled] { cancelled = true; });
    return session.evaluate({&token, 1}, options);
}

TEST_P(GpuGraphFaults, AStepIsCancelledWhileItWaitsForTheDisk) {
    cache::ReadFaults faults("delay_ms=20@1+");
    const auto slow = load_portion(tight(&faults));
    const auto sound = load_portion(tight(nullptr));
    Twins twins(*slow, *sound, session_);
    twins.evaluate(numbers(10, 5));
    twins.decode(numbers(30, 2));
    ASSERT_EQ(evaluate_cancelled(twins.graphed(), 50, 5ms), Evaluated::cancelled);
    EXPECT_EQ(twins.graphed().n_tokens(), 7);
    twins.decode(numbers(50, 2));
}

TEST_P(GpuGraphFaults, AStepIsCancelledWhileItWaitsForTheGpu) {
    const auto engine = load_portion(without_slots());
    Twins twins(*engine, *engine, session_);
    twins.evaluate(numbers(10, 5));
    twins.decode(numbers(30, 2));
    emulation::set_kernel_delay_us(4000);
    ASSERT_EQ(evaluate_cancelled(twins.graphed(), 50, 0ms), Evaluated::cancelled);
    emulation::set_kernel_delay_us(0);
    EXPECT_EQ(twins.graphed().n_tokens(), 7);
    twins.decode(numbers(50, 2));
}

TEST_P(GpuGraphFaults, ADeviceThatIsLostInAStepIsAnErrorAndNothingHangs) {
    const auto engine = load_portion(without_slots());
    Session session(*engine, session_);
    session.evaluate(numbers(10, 5));
    for (const text::TokenId token : {30, 31}) session.evaluate({&token, 1});
    emulation::set_kernel_delay_us(4000);
    const OnceBegun fault(0ms, [] { emulation::lose_device(cudaErrorLaunchFailure, "a fault of the test"); });
    const text::TokenId token = 32;
    test::expect_error(ErrorKind::device, {"a fault of the test"}, [&] { session.evaluate({&token, 1}); });
    EXPECT_EQ(session.n_tokens(), 7);
}

std::atomic<int> n_warnings{0};

TEST_P(GpuGraphFaults, WhereACaptureIsRefusedOperationsDoTheSameWithAWarning) {
    struct Refusal {
        const char* call;
        int n_successes;
    };
    for (const Refusal refusal : {Refusal{"cudaStreamBeginCapture", 0},
                                  {"cudaLaunchKernel", 5},
                                  {"cudaStreamEndCapture", 0},
                                  {"cudaGraphInstantiate", 0}}) {
        const auto engine = load_portion(without_slots());
        Twins twins(*engine, *engine, session_);
        twins.evaluate(numbers(10, 5));
        twins.decode(numbers(30, 1));
        n_warnings = 0;
        set_log_sink([](LogLevel level, std::string_view line) {
            if (level == LogLevel::warning && line.find("without a CUDA graph") != std::string_view::npos)
                ++n_warnings;
        });
        emulation::fail_call(refusal.call, cudaErrorStreamCaptureUnsupported, refusal.n_successes);
        const std::int64_t n_launches = emulation::counts().graph_launches;
        twins.decode(numbers(40, 4));
        EXPECT_EQ(emulation::counts().graph_launches, n_launches) << refusal.call;
        EXPECT_EQ(n_warnings, 1) << refusal.call;
        set_log_sink(nullptr);
    }
}

}  // namespace
}  // namespace greenroom::runtime
