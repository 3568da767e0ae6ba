#pragma once

// Two sessions that are to do the same, one by CUDA graphs and one by operations, on the emulated device.

#include "cache/read_faults.h"
#include "runtime/observer.h"
#include "tests/gpu/emulation/fake_device.h"
#include "tests/runtime/families.h"
#include "tests/runtime/session_values.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace greenroom::runtime {

using test::Family;

// What an observer looks at does not go through as a graph.
class Onlooker : public ForwardObserver {
  public:
    void on_hidden(int, std::int64_t, ConstMatrixView) override {}
    void on_router(const RouterChoice&) override {}
};

inline std::string path_of(const Family& family) {
    return (test::oracle_of(family).folder / family.file).string();
}

inline int n_layers(const Family& family) { return Engine::open(path_of(family))->spec().n_layers(); }

inline std::unique_ptr<Engine> load(const Family& family, LoadOptions options) {
    options.gpu.use = GpuOptions::Use::on;
    return Engine::load(path_of(family), {2, {}, options});
}

// No expert ever is in VRAM, so that it does not depend on the time that copies take who computes one.
inline LoadOptions without_slots() {
    LoadOptions options;
    options.gpu.max_expert_bytes = 1;
    return options;
}

// Experts come from the disk through the least memory, and all misses are the CPU's.
inline LoadOptions tight(cache::ReadFaults* faults) {
    LoadOptions options = without_slots();
    options.max_expert_bytes = 1;
    options.experts.prefetch_layers = 1;
    options.reader.faults = faults;
    return options;
}

// How many of the experts have room in VRAM.
enum class Room { none, some, all };

inline LoadOptions with_room(const Family& family, Room room, LoadOptions options = {}) {
    if (room == Room::none) options.gpu.max_expert_bytes = 1;
    if (room == Room::some)
        options.gpu.max_expert_bytes = load(family, options)->gpu()->usage().expert_bytes / 2;
    return options;
}

// How much of a model the GPU runs: all layers, or the last of them.
enum class Portion { all, all_but_first, half };

inline std::string portion_name(Portion portion) {
    constexpr const char* kNames[] = {"all", "all_but_first", "half"};
    return kNames[static_cast<int>(portion)];
}

inline LoadOptions with_portion(const Family& family, Portion portion, LoadOptions options) {
    // The output counts as a layer.
    if (portion == Portion::all_but_first) options.gpu.n_layers = n_layers(family);
    if (portion == Portion::half) options.gpu.n_layers = 1 + n_layers(family) / 2;
    return options;
}

// A session by graphs and one by operations that are to do the same.
class Twins {
  public:
    Twins(const Engine& first, const Engine& second, const SessionOptions& options)
        : graphed_(first, options), by_operations_(second, options) {
        onlooker_.observer = &looks_;
    }

    void evaluate(std::span<const text::TokenId> tokens) {
        // Of both engines: what they have asked for is in VRAM.
        emulation::wait_for_all_streams();
        ASSERT_EQ(graphed_.evaluate(tokens), Evaluated::done);
        ASSERT_EQ(by_operations_.evaluate(tokens, onlooker_), Evaluated::done);
        ASSERT_EQ(logits_of(graphed_), logits_of(by_operations_)) << "at token " << graphed_.n_tokens();
    }

    void decode(std::span<const text::TokenId> tokens) {
        for (const text::TokenId token : tokens) evaluate({&token, 1});
    }

    std::int64_t truncate(std::int64_t n_keep) {
        const std::int64_t n_kept = graphed_.truncate(n_keep);
        EXPECT_EQ(by_operations_.truncate(n_keep), n_kept);
        return n_kept;
    }

    Session& graphed() { return graphed_; }

  private:
    Session graphed_;
    Session by_operations_;
    Onlooker looks_;
    EvaluateOptions onlooker_;
};

}  // namespace greenroom::runtime
