#include "runtime/tuner.h"

#include "cache/arena.h"
#include "cache/ssd_reader.h"
#include "cpu/expert_ffn.h"
#include "cpu/parallel.h"
#include "cpu/read_bandwidth.h"
#include "cpu/topology.h"
#include "quant/base/error.h"
#include "runtime/available_memory.h"
#include "runtime/host_timing.h"
#include "runtime/ram_tier.h"
#include "runtime/session.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <memory>
#include <random>
#include <utility>
#include <variant>

namespace greenroom::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kReadBytes = std::int64_t{512} << 20;    // more than most caches
constexpr std::int64_t kExpertBytes = std::int64_t{512} << 20;  // of experts that take turns
constexpr std::int64_t kShareOfMemory = 8;  // of what is available, each of these takes a part at most
constexpr double kSsdS = 1.0;
constexpr double kDecodeS = 1.0;
constexpr int kDecodeTokens = 8;
constexpr std::array kTokenCounts{1, 4, 32};

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::int64_t at_most(std::int64_t bytes) {
    return std::max<std::int64_t>(8 << 20, std::min(bytes, available_memory_bytes() / kShareOfMemory));
}

// Experts of the model in memory, read from its own files.
class ExpertSample {
  public:
    ExpertSample(const Engine& engine, cache::SsdReader& reader, const ExpertLayouts& layouts)
        : engine_(engine), reader_(reader), layouts_(layouts) {
        pick();
        slot_bytes_ = *std::ranges::max_element(layouts.layer_slot_bytes());
        const std::int64_t n_slots =
            std::max<std::int64_t>(layouts.top_k(), at_most(kExpertBytes) / slot_bytes_);
        picked_.resize(std::min<std::size_t>(picked_.size(), static_cast<std::size_t>(n_slots)));
        arena_ = std::make_unique<cache::Arena>(slot_bytes_ * static_cast<std::int64_t>(picked_.size()),
                                                cache::ArenaOptions{.commit = cache::ArenaCommit::at_once});
    }

    // Bytes per second of whole experts in random order. Only as many as come in time are in memory then.
    double read() {
        std::int64_t bytes = 0;
        std::int64_t n_under_way = 0;
        std::size_t next = 0;
        const auto least = static_cast<std::size_t>(layouts_.top_k());
        const std::int64_t at_once = std::min<std::int64_t>(kAtOnce, (std::ssize(picked_) + 1) / 2);
        std::array<cache::Completion, 16> completions;
        const auto begin = Clock::now();
        double elapsed = 0;
        for (;;) {
            // A slot's last read is long complete when its turn comes again, if there are enough of them.
            while (n_under_way < at_once && (elapsed < kSsdS || next < least)) {
                const std::size_t i = next % picked_.size();
                const cache::SlotLayout& layout = layout_of(picked_[i]);
                const auto copies = layout.copies_to(slot(i));
                if (!reader_.start({std::span(copies).first(layout.parts().size()), cache::Priority::demanded,
                                    static_cast<std::uint64_t>(next)}))
                    break;
                ++next;
                ++n_under_way;
            }
            const std::size_t n = reader_.wait(completions, std::chrono::seconds(60));
            if (n == 0) break;
            for (const cache::Completion& completion : std::span(completions).first(n)) {
                if (completion.error) throw *completion.error;
                for (const cache::SlotPart& part :
                     layout_of(picked_[completion.tag % picked_.size()]).parts())
                    bytes += part.range.bytes;
                --n_under_way;
            }
            elapsed = seconds_since(begin);
        }
        GR_CHECK(bytes > 0);
        // All that were begun are complete.
        n_filled_ = std::min(next, picked_.size());
        return static_cast<double>(bytes) / elapsed;
    }

    int layer() const noexcept { return layers_.front(); }
    std::size_t size() const noexcept { return n_filled_; }

    cpu::ExpertTask task(std::size_t i, std::span<const std::int32_t> calls) const {
        const cache::ExpertId id = picked_[i];
        const auto layer = static_cast<std::size_t>(layouts_.layer(id.layer));
        ExpertWeights expert = std::get<MoeFfnWeights>(engine_.weights().layers[layer].ffn)
                                   .experts[static_cast<std::size_t>(id.index)];
        const auto parts = layout_of(id).parts();
        expert.gate.data = slot(i) + parts[0].slot_offset;
        expert.up.data = slot(i) + parts[1].slot_offset;
        expert.down.data = slot(i) + parts[2].slot_offset;
        return {expert.gate, expert.up, expert.down, calls};
    }

  private:
    static constexpr std::int64_t kAtOnce = 32;  // experts asked for: the reader has more than enough

    // All experts of the layers that are as wide as the first one, in random order.
    void pick() {
        const auto spec_of = [&](int ordinal) -> const MoeFfnSpec& {
            const auto layer = static_cast<std::size_t>(layouts_.layer(ordinal));
            return std::get<MoeFfnSpec>(engine_.spec().layers[layer].ffn);
        };
        for (int m = 0; m < layouts_.n_layers(); ++m) {
            if (spec_of(m).d_ff != spec_of(0).d_ff) continue;
            layers_.push_back(layouts_.layer(m));
            for (int e = 0; e < spec_of(m).router.n_experts; ++e) picked_.push_back({m, e});
        }
        std::mt19937 random(1);
        std::ranges::shuffle(picked_, random);
    }

    const cache::SlotLayout& layout_of(cache::ExpertId id) const {
        return layouts_
            .slots()[static_cast<std::size_t>(std::int64_t{id.layer} * layouts_.n_experts() + id.index)];
    }
    std::byte* slot(std::size_t i) const {
        return arena_->data() + static_cast<std::int64_t>(i) * slot_bytes_;
    }

    const Engine& engine_;
    cache::SsdReader& reader_;
    const ExpertLayouts& layouts_;
    std::vector<cache::ExpertId> picked_;
    std::vector<int> layers_;
    std::int64_t slot_bytes_ = 0;
    std::unique_ptr<cache::Arena> arena_;
    std::size_t n_filled_ = 0;
};

double expert_time(cpu::ThreadTeam& team, const ModelSpec& spec, const ExpertSample& sample, int n_tokens) {
    return time_expert(
        team, spec,
        {.layer = sample.layer(),
         .n = sample.size(),
         .task = [&](std::size_t i, std::span<const std::int32_t> calls) { return sample.task(i, calls); }},
        n_tokens);
}

SessionOptions decode_session(const ModelSpec& spec) {
    SessionOptions options;
    options.context_tokens = std::min<std::int64_t>(64, spec.context_length);
    options.batch_tokens = kDecodeTokens;
    options.n_checkpoints = 0;
    return options;
}

// A few tokens again and again: from the second time on their experts are in memory, as far as there is room.
double decode_speed(const Engine& engine) {
    Session session(engine, decode_session(engine.spec()));
    std::mt19937 random(1);
    std::vector<text::TokenId> tokens;
    const auto evaluate = [&](text::TokenId token) { session.evaluate({&token, 1}); };
    const auto begin = Clock::now();
    while (tokens.size() < kDecodeTokens && (tokens.empty() || seconds_since(begin) < kDecodeS)) {
        tokens.push_back(
            static_cast<text::TokenId>(random() % static_cast<std::uint32_t>(engine.spec().n_vocab)));
        evaluate(tokens.back());
    }
    double best = 0;
    const auto timed = Clock::now();
    for (int pass = 0; pass < 2 || seconds_since(timed) < kDecodeS; ++pass) {
        session.truncate(0);
        const auto one = Clock::now();
        for (const text::TokenId token : tokens) evaluate(token);
        best = std::max(best, static_cast<double>(tokens.size()) / seconds_since(one));
    }
    return best;
}

class Tuner {
  public:
    Tuner(const Engine& engine, const TuneOptions& options)
        : engine_(engine),
          options_(options),
          reader_(engine.file().part_paths()),
          layouts_(engine.file(), engine.spec(), engine.weights(), reader_.alignment()) {}

    MachineMeasurements measure() {
        const cpu::Topology topology = cpu::read_topology();
        const int most =
            topology.cpu_quota > 0 ? std::min(topology.n_threads, topology.cpu_quota) : topology.n_threads;
        const int n_default = cpu::default_thread_count();
        const std::vector<int> counts = thread_counts_to_measure(std::min(n_default, most), most);
        constexpr int kDecodes = 2;
        n_steps_ = 3 + std::ssize(counts) + kDecodes;

        measure_disk();
        {
            const cache::Arena memory(at_most(kReadBytes), {.commit = cache::ArenaCommit::at_once});
            for (const int n : counts) measure_threads(n, memory.memory());
            measure_tokens(n_default);
            measure_gpu(n_default, memory.memory());
        }
        sample_.reset();  // its memory, too, is for the model
        for (const int n : thread_candidates(result_.threads)) {
            step("decoding");
            LoadOptions load;
            load.session = decode_session(engine_.spec());
            const auto loaded = Engine::open(engine_.file().path(), n);
            loaded->load_weights(load);
            result_.decodes.push_back({n, decode_speed(*loaded)});
        }
        if (options_.progress) options_.progress("measuring", n_steps_, n_steps_);
        return std::move(result_);
    }

  private:
    void step(std::string_view what) {
        if (options_.progress) options_.progress(what, std::min(n_done_, n_steps_ - 1), n_steps_);
        ++n_done_;
    }

    void measure_disk() {
        if (layouts_.n_layers() == 0) return;
        step("reading experts from the disk");
        for (const cache::SlotLayout& slot : layouts_.slots()) {
            std::int64_t bytes = 0;
            for (const cache::SlotPart& part : slot.parts()) bytes += part.range.bytes;
            result_.expert_bytes = std::max(result_.expert_bytes, bytes);
        }
        sample_ = std::make_unique<ExpertSample>(engine_, reader_, layouts_);
        result_.ssd_read = sample_->read();
    }

    void measure_threads(int n, std::span<const std::byte> memory) {
        step("reading and computing");
        cpu::ThreadTeam team(n);
        const double read_s = median_seconds([&] { cpu::read_bytes(team, memory); });
        result_.threads.push_back({n, static_cast<double>(memory.size()) / read_s,
                                   sample_ ? expert_time(team, engine_.spec(), *sample_, 1) : 0});
    }

    void measure_tokens(int n_threads) {
        step("computing experts for several tokens");
        if (!sample_) return;
        cpu::ThreadTeam team(n_threads);
        for (const int n : kTokenCounts)
            result_.experts.push_back({n, expert_time(team, engine_.spec(), *sample_, n)});
    }

    void measure_gpu(int n_threads, std::span<const std::byte> memory) {
        step("copying to the GPU");
        cpu::ThreadTeam team(n_threads);
        GpuProbeOptions probe;
        if (result_.expert_bytes > 0) probe.expert_bytes = result_.expert_bytes;
        probe.read_host = [&](const std::function<bool()>& done) { return read_until(team, memory, done); };
        result_.gpu = options_.probe_gpu(probe);
    }

    const Engine& engine_;
    const TuneOptions& options_;
    cache::SsdReader reader_;
    ExpertLayouts layouts_;
    std::unique_ptr<ExpertSample> sample_;  // reads with reader_
    MachineMeasurements result_;
    std::int64_t n_done_ = 0;
    std::int64_t n_steps_ = 0;
};

}  // namespace

MachineMeasurements measure_machine(const Engine& engine, const TuneOptions& options) {
    return Tuner(engine, options).measure();
}

TunedModel tuned_model(const ModelSpec& spec) noexcept {
    const ModelExtent extent = extent_of(spec);
    return {static_cast<int>(extent.max_experts), static_cast<int>(extent.max_top_k)};
}

}  // namespace greenroom::runtime
