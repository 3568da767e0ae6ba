#include "tools/measure_speed.h"

#include "quant/base/error.h"
#include "runtime/ram_tier.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <random>
#include <span>

namespace greenroom::tools {
namespace {

using Tokens = std::vector<text::TokenId>;

// One seed for all: a test reads the same tokens whatever else is measured.
class RandomTokens {
  public:
    explicit RandomTokens(std::int64_t n_vocab) : n_vocab_(static_cast<std::uint64_t>(n_vocab)) {}

    // The remainder favours none by more than n_vocab / 2^64, and is the same with every C++ library.
    Tokens draw(std::int64_t n) {
        Tokens tokens(static_cast<std::size_t>(n));
        for (text::TokenId& token : tokens) token = static_cast<text::TokenId>(engine_() % n_vocab_);
        return tokens;
    }

  private:
    std::mt19937_64 engine_{0};
    std::uint64_t n_vocab_;
};

cache::CacheCounters counters_of(const runtime::Engine& engine) {
    const std::scoped_lock turn(engine.evaluation_mutex());
    const runtime::RamTier* tier = engine.experts();
    return tier == nullptr ? cache::CacheCounters() : tier->cache().total();
}

runtime::VramCounters vram_counters_of(const runtime::Engine& engine) {
    return engine.gpu_usage().value_or(runtime::GpuUsage()).experts;
}

// False when it was cancelled.
bool read_and_write(runtime::Session& session, const Tokens& prompt, const Tokens& generated,
                    const runtime::EvaluateOptions& options) {
    if (!prompt.empty() && session.evaluate(prompt, options) == runtime::Evaluated::cancelled) return false;
    return std::all_of(generated.begin(), generated.end(), [&](const text::TokenId& token) {
        return session.evaluate({&token, 1}, options) == runtime::Evaluated::done;
    });
}

}  // namespace

std::string SpeedTest::name() const {
    std::string name;
    if (n_prompt > 0) name = fmt::format("pp{}", n_prompt);
    if (n_gen > 0) name += fmt::format("{}tg{}", name.empty() ? "" : "+", n_gen);
    if (n_depth > 0) name += fmt::format(" @ d{}", n_depth);
    return name;
}

std::optional<SpeedResult> measure_speed(const runtime::Engine& engine, runtime::Session& session,
                                         const SpeedTest& test, const SpeedOptions& options) {
    GR_CHECK(test.n_timed() > 0 && test.n_tokens() <= session.context_tokens());
    SpeedResult result{
        .begin = std::chrono::system_clock::now(), .samples_ns = {}, .experts = {}, .vram = {}};
    const runtime::EvaluateOptions timed{
        .progress = {}, .cancelled = options.cancelled, .observer = options.observer};
    const auto tell = [&](const std::string& what, std::int64_t done, std::int64_t total) {
        if (options.progress) options.progress(test.name() + what, done, total);
    };
    RandomTokens random(engine.spec().n_vocab);
    const Tokens depth = random.draw(test.n_depth);

    if (options.warmup == Warmup::yes) {
        tell(", warmup", 0, options.n_repetitions);
        session.truncate(0);
        const Tokens prompt = random.draw(test.n_prompt);
        const Tokens generated = random.draw(std::min<std::int64_t>(test.n_gen, 1));
        if (!read_and_write(session, prompt, generated, timed)) return std::nullopt;
    }

    std::int64_t n_filled = 0;  // of depth, at the beginning of the timeline
    for (int i = 0; i < options.n_repetitions; ++i) {
        const std::string place = fmt::format(", {} of {}", i + 1, options.n_repetitions);
        tell(place, i, options.n_repetitions);
        // Where the model can go back to the end of the depth, it need not be evaluated again.
        const std::int64_t n_kept = session.truncate(std::min(n_filled, session.n_tokens()));
        const std::span<const text::TokenId> missing =
            std::span(depth).subspan(static_cast<std::size_t>(n_kept));
        if (!missing.empty()) {
            runtime::EvaluateOptions untimed = timed;
            untimed.progress = [&](std::string_view, std::int64_t done, std::int64_t total) {
                tell(place + ", filling the context", done, total);
            };
            if (session.evaluate(missing, untimed) == runtime::Evaluated::cancelled) return std::nullopt;
            tell(place, i, options.n_repetitions);
        }
        n_filled = test.n_depth;

        const Tokens prompt = random.draw(test.n_prompt);
        const Tokens generated = random.draw(test.n_gen);
        const cache::CacheCounters before = counters_of(engine);
        const runtime::VramCounters vram_before = vram_counters_of(engine);
        const auto begin = std::chrono::steady_clock::now();
        if (!read_and_write(session, prompt, generated, timed)) return std::nullopt;
        const auto taken = std::chrono::steady_clock::now() - begin;
        result.samples_ns.push_back(std::chrono::duration_cast<std::chrono::nanoseconds>(taken).count());
        result.experts += counters_of(engine);
        result.experts -= before;
        result.vram += vram_counters_of(engine);
        result.vram -= vram_before;
    }
    tell("", options.n_repetitions, options.n_repetitions);
    return result;
}

void fill_expert_slots(const runtime::Engine& engine, const ProgressFn& progress,
                       const std::atomic<bool>* cancelled) {
    runtime::RamTier* tier = engine.experts();
    if (tier == nullptr) return;
    constexpr auto kPatience = std::chrono::milliseconds(50);  // until cancelled is looked at again
    std::array<cache::ExpertId, 32> arrived;                   // stays empty: nothing is demanded
    const std::scoped_lock turn(engine.evaluation_mutex());
    const std::int64_t n_slots = tier->plan().n_kept();
    while (cancelled == nullptr || !*cancelled) {
        tier->fill();
        // Looked at before anything is taken in: all that was under way may arrive at once, and more be left.
        if (tier->cache().n_ahead() == 0) break;
        tier->cache().take_in(arrived, kPatience);
        if (progress) progress("reading experts", tier->cache().n_resident(), n_slots);
    }
    if (progress) progress("reading experts", n_slots, n_slots);
}

}  // namespace greenroom::tools
