#include "tools/expert_report.h"

#include "tools/gpu_options.h"
#include "tools/printable.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string_view>

namespace greenroom::tools {
namespace {

using nlohmann::ordered_json;

double share(std::int64_t part, std::int64_t whole) {
    return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

double seconds(std::int64_t us) { return static_cast<double>(us) * 1e-6; }

std::string_view tuned_text(runtime::GpuUsage::Tuned tuned) {
    using Tuned = runtime::GpuUsage::Tuned;
    return tuned == Tuned::as_given ? "profile" : tuned == Tuned::at_start ? "start" : "none";
}

std::string_view measured_text(runtime::GpuUsage::Tuned tuned) {
    using Tuned = runtime::GpuUsage::Tuned;
    return tuned == Tuned::as_given   ? "as the profile says"
           : tuned == Tuned::at_start ? "as measured at the start"
                                      : "not measured";
}

bool may_stream(const runtime::GpuUsage& usage) {
    return usage.stream_above < runtime::GpuOptions::kNeverStream;
}

std::string streaming_text(const runtime::GpuUsage& usage) {
    const runtime::VramCounters& c = usage.experts;
    std::string text = fmt::format("streamed  {} batches, {} of experts; ", c.n_batches_streamed,
                                   human_bytes(c.n_bytes_streamed));
    if (usage.staging_bytes == 0)
        text += may_stream(usage) ? "no batch is so large, or there is no room" : "off";
    else
        text += fmt::format("above {:.1f} tokens per expert, through {}", usage.stream_above,
                            human_bytes(usage.staging_bytes));
    return text + "\n";
}

// How weights have come over the link.
std::string copies_text(const runtime::GpuUsage& usage) {
    const runtime::VramCounters& c = usage.experts;
    const std::int64_t n_bytes = c.n_bytes_up + c.n_bytes_streamed;
    const std::int64_t n_pinned = std::max<std::int64_t>(0, n_bytes - c.n_bytes_staged - c.n_bytes_pageable);
    return fmt::format("{} pinned, {} staged, {} pageable", human_bytes(n_pinned),
                       human_bytes(c.n_bytes_staged), human_bytes(c.n_bytes_pageable));
}

std::string pinning_text(const runtime::GpuUsage& usage) {
    if (usage.ram_slot_bytes == 0) return "";
    const bool is_all = usage.ram_pinned_bytes == usage.ram_slot_bytes;
    return fmt::format("pinned    {} of {} of experts in RAM{}\n", human_bytes(usage.ram_pinned_bytes),
                       human_bytes(usage.ram_slot_bytes),
                       is_all ? ""
                       : usage.ring_bytes > 0
                           ? fmt::format("; the rest is copied through {}", human_bytes(usage.ring_bytes))
                           : "; the rest is pageable, and the computation waits for it");
}

std::string gpu_text(const runtime::GpuUsage& usage, int n_layers) {
    const runtime::VramCounters& c = usage.experts;
    return fmt::format(
        "vram      {} of {} on {}: {}, {} that every token needs, {} for experts\n"
        "on stage  {} experts, room for {}; {:.1f} % hits of {}; {} uploads; the CPU had {:.1f} % of the "
        "calls\n"
        "PCIe      {} for experts: {} of weights ({}), {} of activations; uploads for {:.0f} % of misses "
        "({})\n{}{}",
        human_bytes(usage.used_bytes), human_bytes(usage.total_bytes), printable(usage.device_name, 80),
        layers_text(usage, n_layers), human_bytes(usage.resident_bytes), human_bytes(usage.expert_bytes),
        usage.n_on_stage, usage.n_slots, 100 * c.hit_rate(), c.n_hits + c.n_misses, c.n_uploads,
        100 * c.cpu_share(), human_bytes(c.n_bytes_over_link()),
        human_bytes(c.n_bytes_up + c.n_bytes_streamed), copies_text(usage), human_bytes(c.n_bytes_between),
        100 * usage.upload_share, measured_text(usage.tuned), pinning_text(usage), streaming_text(usage));
}

ordered_json as_json(const runtime::GpuUsage& usage) {
    const runtime::VramCounters& c = usage.experts;
    return {{"device", printable(usage.device_name)},
            {"n_gpu_layers", usage.layers.size()},
            {"vram_budget", usage.total_bytes},
            {"vram_used", usage.used_bytes},
            {"resident_weights", usage.resident_bytes},
            {"expert_slots", usage.expert_bytes},
            {"n_slots", usage.n_slots},
            {"on_stage", usage.n_on_stage},
            {"hits", c.n_hits},
            {"misses", c.n_misses},
            {"hit_rate", c.hit_rate()},
            {"uploads", c.n_uploads},
            {"bytes_uploaded", c.n_bytes_up},
            {"bytes_of_activations", c.n_bytes_between},
            {"bytes_staged", c.n_bytes_staged},
            {"bytes_pageable", c.n_bytes_pageable},
            {"ram_slots", usage.ram_slot_bytes},
            {"ram_slots_pinned", usage.ram_pinned_bytes},
            {"ram_ring", usage.ring_bytes},
            {"upload_share", usage.upload_share},
            {"stream_above", may_stream(usage) ? ordered_json(usage.stream_above) : ordered_json()},
            {"tuned", tuned_text(usage.tuned)},
            {"staging", usage.staging_bytes},
            {"batches_streamed", c.n_batches_streamed},
            {"bytes_streamed", c.n_bytes_streamed},
            {"gpu_calls", c.n_gpu_calls},
            {"cpu_calls", c.n_cpu_calls},
            {"cpu_share", c.cpu_share()}};
}

ordered_json as_json(const cache::CacheCounters& c) {
    return {{"hits", c.n_hits},
            {"late", c.n_late},
            {"misses", c.n_misses},
            {"hit_rate", c.hit_rate()},
            {"bytes_read", c.n_bytes_read},
            {"reads_failed", c.n_failed},
            {"stall_us", c.stall_us},
            {"filled", c.n_filled},
            {"prefetched", c.n_prefetched},
            {"prefetch_useful", c.n_useful},
            {"prefetch_wasted", c.n_wasted}};
}

}  // namespace

std::string expert_report_text(const runtime::Engine& engine) {
    const runtime::RamTier* tier = engine.experts();
    const std::optional<runtime::GpuUsage> usage = engine.gpu_usage();
    const std::string on_gpu = usage ? gpu_text(*usage, engine.spec().n_layers()) : "";
    if (tier == nullptr) return on_gpu + "experts: the model has none that are routed\n";
    const cache::ExpertCache& cache = tier->cache();
    const cache::CacheCounters all = cache.total();
    std::string text = on_gpu;
    auto to = std::back_inserter(text);
    fmt::format_to(to, "memory    {} in all: {} that every token needs, {} for experts, in {}\n",
                   human_bytes(engine.memory_budget().total), human_bytes(engine.resident_ram_bytes()),
                   human_bytes(tier->plan().total_bytes()), tier->arena().describe());
    fmt::format_to(to, "experts   {} of {} in memory, kept by policy {} per {}\n", cache.n_resident(),
                   tier->layouts().n_all(), tier->options().policy,
                   tier->policy().scope() == cache::Scope::layer ? "layer" : "model");
    fmt::format_to(to, "calls     {:.1f} % hits of {} ({} late, {} misses)\n", 100 * all.hit_rate(),
                   all.n_demanded(), all.n_late, all.n_misses);
    fmt::format_to(to, "reads     {} ({} failed), waited {:.2f} s; {}\n", human_bytes(all.n_bytes_read),
                   all.n_failed, seconds(all.stall_us), engine.reader().describe());
    fmt::format_to(to, "ahead     {} prefetched: {:.0f} % useful, {:.0f} % wasted; {} filled\n",
                   all.n_prefetched, 100 * share(all.n_useful, all.n_prefetched),
                   100 * share(all.n_wasted, all.n_prefetched), all.n_filled);
    for (int distance = 1; distance <= runtime::ExpertOptions::kMaxPrefetchLayers; ++distance)
        if (const runtime::Foresight& foresight = tier->foresight(distance); foresight.n_called > 0)
            fmt::format_to(to, "          {:.1f} % foreseen {} ahead\n", 100 * foresight.recall(),
                           counted(distance, "layer"));
    fmt::format_to(to, "{:>5} {:>7} {:>7} {:>7} {:>11} {:>10} {:>9} {:>7} {:>7}\n", "layer", "hits %", "late",
                   "misses", "read", "waited ms", "ahead", "useful", "wasted");
    for (int m = 0; m < tier->layouts().n_layers(); ++m) {
        const cache::CacheCounters& c = cache.counters(m);
        fmt::format_to(to, "{:>5} {:>7.1f} {:>7} {:>7} {:>11} {:>10.1f} {:>9} {:>7} {:>7}\n",
                       tier->layouts().layer(m), 100 * c.hit_rate(), c.n_late, c.n_misses,
                       human_bytes(c.n_bytes_read), 1e3 * seconds(c.stall_us), c.n_prefetched, c.n_useful,
                       c.n_wasted);
    }
    return text;
}

ordered_json expert_report_json(const runtime::Engine& engine) {
    const runtime::MemoryBudget& budget = engine.memory_budget();
    const cache::ReaderStats reads = engine.reader().stats();
    ordered_json report{{"budget",
                         {{"total", budget.total},
                          {"resident_weights", engine.resident_ram_bytes()},
                          {"expert_slots", budget.experts},
                          {"sessions", budget.sessions}}},
                        {"reader",
                         {{"how", engine.reader().describe()},
                          {"bytes_demanded", reads.bytes_demanded},
                          {"bytes_prefetched", reads.bytes_prefetched},
                          {"n_done", reads.n_done},
                          {"n_failed", reads.n_failed},
                          {"n_cancelled", reads.n_cancelled},
                          {"latency_sum_us", reads.latency_sum_us},
                          {"latency_max_us", reads.latency_max_us}}}};
    if (const auto usage = engine.gpu_usage()) report["gpu"] = as_json(*usage);
    const runtime::RamTier* tier = engine.experts();
    if (tier == nullptr) return report;
    ordered_json experts = as_json(tier->cache().total());
    experts["resident"] = tier->cache().n_resident();
    experts["all"] = tier->layouts().n_all();
    experts["policy"] = tier->options().policy;
    experts["scope"] = cache::scope_name(tier->policy().scope());
    experts["prefetch_layers"] = tier->options().prefetch_layers;
    experts["recall"] = ordered_json::array();
    for (int distance = 1; distance <= tier->options().prefetch_layers; ++distance)
        experts["recall"].push_back(tier->foresight(distance).recall());
    report["experts"] = std::move(experts);
    report["layers"] = ordered_json::array();
    for (int m = 0; m < tier->layouts().n_layers(); ++m) {
        ordered_json layer{{"layer", tier->layouts().layer(m)}};
        layer.update(as_json(tier->cache().counters(m)));
        report["layers"].push_back(std::move(layer));
    }
    return report;
}

}  // namespace greenroom::tools
