// Sessions on the emulated device: going back, sharing the GPU, little memory of each kind, slow copies,
// errors that say what would do.

#include "tests/gpu/emulation/control.h"
#include "tests/runtime/families.h"
#include "tests/runtime/session_values.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace greenroom::runtime {
namespace {

using test::Family;

LoadOptions on_gpu() {
    LoadOptions options;
    options.gpu.use = GpuOptions::Use::on;
    return options;
}

std::unique_ptr<Engine> load(const Family& family, const LoadOptions& options) {
    return Engine::load((test::oracle_of(family).folder / family.file).string(), {2, {}, options});
}

// Half of the experts have room in VRAM, and a quarter of them in RAM if so asked.
LoadOptions with_room_for_half(const Family& family, bool with_little_ram) {
    const auto everything = load(family, on_gpu());
    LoadOptions options = on_gpu();
    options.gpu.max_expert_bytes = everything->gpu()->usage().expert_bytes / 2;
    if (with_little_ram) options.max_expert_bytes = everything->experts()->plan().total_bytes() / 4;
    return options;
}

LoadOptions on_gpu(int n_layers) {
    LoadOptions options = on_gpu();
    options.gpu.n_layers = n_layers;
    return options;
}

constexpr int kAllLayers = 99;

// With so many layers on the GPU, the output counted.
class GpuRewind : public testing::TestWithParam<std::tuple<Family, int>> {};

TEST_P(GpuRewind, GoesOnFromWhatIsKeptAsIfTheRestHadNeverBeen) {
    const auto& [family, n_layers] = GetParam();
    const auto engine = load(family, on_gpu(n_layers));
    const SessionOptions options = test::exact_session(120, 8);
    const auto prompt = numbers(10, 30);
    const auto answer = numbers(100, 12);
    Session session(*engine, options);
    session.evaluate(prompt);
    for (const text::TokenId token : answer) session.evaluate({&token, 1});
    for (const std::int64_t n_keep : {41, 30, 3}) {
        if (n_keep > session.n_tokens()) continue;
        const std::int64_t kept = session.truncate(n_keep);
        ASSERT_LE(kept, n_keep);
        std::vector<text::TokenId> all = prompt;
        all.insert(all.end(), answer.begin(), answer.end());
        all.resize(static_cast<std::size_t>(n_keep));
        const auto others = numbers(200, 5);
        all.insert(all.end(), others.begin(), others.end());
        session.evaluate(std::span(all).subspan(static_cast<std::size_t>(kept)));

        Session undisturbed(*engine, options);
        undisturbed.evaluate(all);
        EXPECT_LE(test::max_abs_difference(logits_of(session), logits_of(undisturbed)), family.max_difference)
            << n_keep;
        session.truncate(n_keep);
    }
}

// Rows, rows with an indexer, rings, chunks, states; and of these on either side, or on one side only.
INSTANTIATE_TEST_SUITE_P(Family, GpuRewind,
                         testing::Combine(testing::Values(Family{"deepseek2"}, Family{"deepseek32"},
                                                          test::kGptOss, Family{"llama4"},
                                                          Family{"qwen35moe", "model-bf16.gguf", "logits_",
                                                                 test::kMaxRecurrentLogitDifference}),
                                          testing::Values(2, 3, kAllLayers)),
                         [](const auto& param) {
                             const int n = std::get<1>(param.param);
                             return test::family_name(std::get<0>(param.param)) + "_" +
                                    (n == kAllLayers ? "all" : std::to_string(n));
                         });

class GpuSessions : public testing::Test {
  protected:
    ~GpuSessions() override { emulation::reset(); }

    const Family family_{"qwen3moe"};
    const test::OracleModel oracle_ = test::oracle_of(family_);
};

TEST_F(GpuSessions, TakeTurnsOnOneGpu) {
    const auto engine = load(family_, with_room_for_half(family_, false));
    const auto reference = load(family_, {});
    const SessionOptions options = test::exact_session(40, 8);
    std::vector<std::unique_ptr<Session>> sessions;
    std::vector<std::unique_ptr<Session>> alone;
    for (int i = 0; i < 3; ++i) {
        sessions.push_back(std::make_unique<Session>(*engine, options));
        alone.push_back(std::make_unique<Session>(*reference, options));
        sessions.back()->evaluate(numbers(10 + 100 * i, 12));
        alone.back()->evaluate(numbers(10 + 100 * i, 12));
    }
    for (int step = 0; step < 8; ++step)
        for (std::size_t i = 0; i < sessions.size(); ++i) {
            const text::TokenId token = 7 * step + static_cast<int>(i);
            sessions[i]->evaluate({&token, 1});
            alone[i]->evaluate({&token, 1});
            EXPECT_LE(test::max_abs_difference(logits_of(*sessions[i]), logits_of(*alone[i])),
                      test::kMaxLogitDifference)
                << "session " << i << ", step " << step;
        }
}

TEST_F(GpuSessions, ExpertsComeFromTheDiskThroughLittleRamIntoVram) {
    const auto engine = load(family_, with_room_for_half(family_, true));
    const auto tokens = oracle_.ids("tokens_p1").values;
    for (int pass = 0; pass < 2; ++pass) {
        test::all_logits(*engine, tokens, 1);
        test::expect_logits(oracle_, *engine, "p1", family_.logits);
    }
    EXPECT_GT(engine->gpu()->usage().experts.n_hits, 0);
    EXPECT_GT(engine->experts()->cache().total().n_misses, 0);
}

TEST_F(GpuSessions, UploadsOfAStepAreTheShareOfMissesThatIsAskedFor) {
    const auto n_uploads = [&](double share) {
        LoadOptions options = on_gpu();
        options.gpu.tuning = GpuTuning{.upload_share = share, .crossover_tokens = kNoCrossover};
        const auto engine = load(family_, options);
        Session session(*engine, test::exact_session(40, 8));
        for (const text::TokenId token : numbers(10, 6)) session.evaluate({&token, 1});
        EXPECT_EQ(engine->gpu()->usage().upload_share, share);
        return engine->gpu()->usage().experts.n_uploads;
    };
    const std::int64_t n_few = n_uploads(0);
    EXPECT_GT(n_few, 0);
    EXPECT_LE(n_few, 5);  // one at a time, from the second token on
    EXPECT_GT(n_uploads(1), n_few);
}

TEST_F(GpuSessions, TheLeastRamServesTheMisses) {
    LoadOptions options = on_gpu();
    options.max_expert_bytes = 1;
    options.experts.prefetch_layers = 2;
    const auto engine = load(family_, options);
    test::all_logits(*engine, oracle_.ids("tokens_p1").values, 1);
    test::expect_logits(oracle_, *engine, "p1", family_.logits);
}

TEST_F(GpuSessions, SlowCopiesComeLaterAndChangeNothing) {
    const auto engine = load(family_, with_room_for_half(family_, false));
    emulation::set_copy_delay_us(300);
    test::all_logits(*engine, oracle_.ids("tokens_p1").values, 1);
    test::expect_logits(oracle_, *engine, "p1", family_.logits);
    EXPECT_GT(engine->gpu()->usage().experts.n_hits, 0);
}

// Few tokens meet quantized weights as integers of two bytes, many as half floats.
TEST_F(GpuSessions, RoundedActivationsAreCloseToFloats) {
    const auto engine = load(test::kGptOss, on_gpu());
    const test::OracleModel oracle = test::oracle_of(test::kGptOss);
    const auto tokens = oracle.ids("tokens_p2").values;
    const auto reference = oracle.floats(std::string(test::kGptOss.logits) + "p2");
    const auto expect_close = [&](std::int64_t batch_tokens, double max_kl) {
        const auto ours = test::all_logits(*engine, tokens, batch_tokens, nullptr, Activations::int16);
        const double kl = test::max_kl(reference.values, ours, static_cast<std::size_t>(reference.dim(1)));
        RecordProperty("kl_in_batches_of_" + std::to_string(batch_tokens), fmt::format("{:.2e}", kl));
        EXPECT_LE(kl, max_kl) << "in batches of " << batch_tokens;
    };
    expect_close(1, 5e-6);
    expect_close(80, 2e-4);
}

TEST_F(GpuSessions, GiveEverythingBack) {
    {
        const auto engine = load(family_, on_gpu());
        Session session(*engine, test::exact_session(40, 8));
        session.evaluate(numbers(10, 12));
        EXPECT_GT(emulation::device_bytes_in_use(), 0);
    }
    EXPECT_EQ(emulation::device_bytes_in_use(), 0);
    EXPECT_EQ(emulation::pinned_bytes_in_use(), 0);
}

TEST_F(GpuSessions, VramIsUsedUpToWhatIsAllowed) {
    LoadOptions options = on_gpu();
    options.session = test::exact_session(64, 8);
    {
        const auto everything = load(family_, options);
        const GpuUsage usage = everything->gpu()->usage();
        Session session(*everything, options.session);
        // All but half of the experts.
        options.gpu.vram_bytes = emulation::device_bytes_in_use() - usage.expert_bytes / 2;
    }
    const auto engine = load(family_, options);
    EXPECT_GT(engine->gpu()->usage().expert_bytes, 0);
    Session session(*engine, options.session);
    EXPECT_LE(emulation::device_bytes_in_use(), options.gpu.vram_bytes);
    session.evaluate(numbers(10, 12));
}

TEST_F(GpuSessions, TooLittleVramNamesTheParts) {
    LoadOptions options = on_gpu();
    options.gpu.vram_bytes = 1 << 10;
    test::expect_error(ErrorKind::out_of_memory,
                       {"a single layer", "every token needs", "for the context", "-c", "the CPU alone"},
                       [&] { load(family_, options); });
    options.gpu.vram_bytes = std::int64_t{1} << 50;
    test::expect_error(ErrorKind::out_of_memory, {"--vram", "are free"}, [&] { load(family_, options); });
}

// What the GPU holds, when a session is there, with as many layers and no experts.
std::int64_t bytes_of_layers(const Family& family, const SessionOptions& session, int n_layers) {
    LoadOptions options = on_gpu(n_layers);
    options.session = session;
    options.gpu.max_expert_bytes = 1;
    const auto engine = load(family, options);
    const Session made(*engine, session);
    return engine->gpu()->usage().used_bytes;
}

TEST_F(GpuSessions, LayersThatDoNotFitAreTheCpus) {
    LoadOptions options = on_gpu();
    options.session = test::exact_session(64, 64);
    constexpr std::int64_t kSpare = 48 << 10;  // less than another layer, more than what is rounded up
    for (const int n : {2, 3}) {
        options.gpu.vram_bytes = bytes_of_layers(family_, options.session, n) + kSpare;
        const auto engine = load(family_, options);
        EXPECT_EQ(engine->gpu()->usage().layers.size(), n);
        test::expect_logits(oracle_, *engine, "p1", family_.logits);
        EXPECT_LE(emulation::device_bytes_in_use(), options.gpu.vram_bytes);

        LoadOptions more = options;
        more.gpu.n_layers = n + 1;
        test::expect_error(ErrorKind::out_of_memory,
                           {n + 1 == 4 ? "3 layers" : "-ngl 3", fmt::format("Use -ngl {} or less", n)},
                           [&] { load(family_, more); });
        more.gpu.n_layers = n;
        EXPECT_EQ(load(family_, more)->gpu()->usage().layers.size(), n);
    }
    options.gpu.vram_bytes = bytes_of_layers(family_, options.session, 1) + kSpare;
    options.gpu.use = GpuOptions::Use::if_possible;
    const auto without = load(family_, options);
    EXPECT_EQ(without->gpu(), nullptr);
    EXPECT_NE(without->why_no_gpu().find("a single layer"), std::string::npos) << without->why_no_gpu();
    test::expect_logits(oracle_, *without, "p1", family_.logits);
}

TEST_F(GpuSessions, RamHoldsWhatEveryTokenNeedsOfTheCpusLayersOnly) {
    const auto everything = load(family_, on_gpu());
    EXPECT_EQ(everything->resident_ram_bytes(), 0);
    const auto split = load(family_, on_gpu(3));
    const auto without = load(family_, {});
    EXPECT_GT(split->resident_ram_bytes(), 0);
    EXPECT_LT(split->resident_ram_bytes(), without->resident_ram_bytes());
    EXPECT_EQ(split->resident_weights_bytes(),
              split->resident_ram_bytes() + split->gpu()->usage().resident_bytes);
}

// By layer and distance, for every token in turn.
class GuessRecorder : public ForwardObserver {
  public:
    void on_hidden(int, std::int64_t, ConstMatrixView) override {}
    void on_router(const RouterChoice&) override {}
    int n_guesses() const override { return ExpertOptions::kMaxPrefetchLayers; }
    void on_guess(const RouterGuess& guess) override {
        auto& all = guesses[{guess.layer, guess.distance}];
        all.insert(all.end(), guess.experts.begin(), guess.experts.end());
    }

    std::map<std::pair<int, int>, std::vector<std::int32_t>> guesses;
};

TEST_F(GpuSessions, TheCpusLayersGuessWhatTheGpusWillCall) {
    const auto tokens = oracle_.ids("tokens_p1").values;
    GuessRecorder expected;
    test::all_logits(*load(family_, {}), tokens, 8, &expected);
    ASSERT_EQ(expected.guesses.size(), 3U);  // of layer 1, and of layer 2 from both before it
    for (const int n_layers : {1, 2, 3}) {
        GuessRecorder found;
        test::all_logits(*load(family_, on_gpu(n_layers)), tokens, 8, &found);
        EXPECT_EQ(found.guesses, expected.guesses) << n_layers;
    }
}

TEST_F(GpuSessions, LoadingBothSidesIsOneProgress) {
    for (const int n_layers : {1, 2, kAllLayers}) {
        LoadOptions options = on_gpu(n_layers);
        std::int64_t last_done = 0;
        int n_ended = 0;
        options.progress = [&](std::string_view, std::int64_t done, std::int64_t total) {
            EXPECT_LE(last_done, done);
            EXPECT_EQ(n_ended, 0);
            last_done = done;
            n_ended += done == total ? 1 : 0;
        };
        load(family_, options);
        EXPECT_EQ(n_ended, 1) << n_layers;
    }
}

TEST_F(GpuSessions, ALayersExpertsGetNoSlotsWhereTheyAreToStayWithTheCpu) {
    LoadOptions options = on_gpu();
    options.gpu.cpu_expert_layers = {1};
    const auto engine = load(family_, options);
    const auto everything = load(family_, on_gpu());
    EXPECT_EQ(engine->gpu()->usage().n_slots * 3, everything->gpu()->usage().n_slots * 2);
    for (int pass = 0; pass < 3; ++pass) test::expect_logits(oracle_, *engine, "p1", family_.logits);
    EXPECT_GT(engine->gpu()->usage().experts.n_hits, 0);
}

TEST_F(GpuSessions, ACancelledBatchLeavesBothSidesWhereTheyWere) {
    const Family recurrent{"qwen35moe", "model-bf16.gguf", "logits_", test::kMaxRecurrentLogitDifference};
    const auto engine = load(recurrent, on_gpu(3));
    const SessionOptions options = test::exact_session(40, 8);
    Session session(*engine, options);
    session.evaluate(numbers(10, 8));
    // Set while the GPU's part runs, when the CPU's is done.
    struct CancelLate : ForwardObserver {
        std::atomic<bool> cancelled{false};
        void on_hidden(int layer, std::int64_t, ConstMatrixView) override {
            if (layer == 2) cancelled = true;
        }
        void on_router(const RouterChoice&) override {}
    } observer;
    EvaluateOptions cancelling;
    cancelling.observer = &observer;
    cancelling.cancelled = &observer.cancelled;
    EXPECT_EQ(session.evaluate(numbers(100, 4), cancelling), Evaluated::cancelled);
    EXPECT_EQ(session.n_tokens(), 8);
    session.evaluate(numbers(200, 4));

    Session undisturbed(*engine, options);
    undisturbed.evaluate(numbers(10, 8));
    undisturbed.evaluate(numbers(200, 4));
    EXPECT_LE(test::max_abs_difference(logits_of(session), logits_of(undisturbed)), recurrent.max_difference);
}

TEST_F(GpuSessions, ALargerContextThanWasPlannedIsRefusedIfItDoesNotFit) {
    LoadOptions options = on_gpu();
    options.session = test::exact_session(16, 8);
    {
        const auto engine = load(family_, options);
        Session session(*engine, options.session);
        options.gpu.vram_bytes = emulation::device_bytes_in_use() + (std::int64_t{16} << 10);
    }
    const auto engine = load(family_, options);
    test::expect_error(ErrorKind::out_of_memory, {"context of 250 tokens", "GPU's memory", "-c"},
                       [&] { Session(*engine, test::exact_session(250, 64)); });
    Session session(*engine, options.session);
}

TEST_F(GpuSessions, WithoutAGpuItIsSaid) {
    emulation::set_vram_bytes(0);
    test::expect_error(ErrorKind::device, {"no GPU can be used"}, [&] { load(family_, on_gpu()); });
}

}  // namespace
}  // namespace greenroom::runtime
