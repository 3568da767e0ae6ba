#include "tools/bench_report.h"

#include "cpu/isa.h"
#include "cpu/topology.h"
#include "runtime/memory_budget.h"
#include "tools/printable.h"
#include "tools/standard_streams.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <numeric>
#include <optional>
#include <utility>

namespace greenroom::tools {
namespace {

using nlohmann::ordered_json;

std::vector<double> as_doubles(const std::vector<std::int64_t>& values) {
    return {values.begin(), values.end()};
}

std::vector<double> tokens_per_s(const BenchResult& result) {
    std::vector<double> speeds;
    for (const std::int64_t ns : result.speed.samples_ns)
        speeds.push_back(1e9 * static_cast<double>(result.test.n_timed()) /
                         static_cast<double>(std::max<std::int64_t>(ns, 1)));
    return speeds;
}

std::int64_t model_bytes(const runtime::ModelInventory& model) {
    return model.resident_bytes + model.expert_bytes;
}

// "qwen3moe 30.5 B Q4_K_M"
std::string model_text(const runtime::ModelInventory& model) {
    return fmt::format("{} {} {}", printable(model.architecture, 80), human_count(model.n_parameters),
                       model.file_type);
}

// Experts that have a place in memory.
std::int64_t n_experts_in_memory(const runtime::Engine& engine) {
    return engine.experts() == nullptr ? 0 : engine.experts()->plan().n_kept();
}

std::int64_t n_experts(const runtime::Engine& engine) {
    return engine.experts() == nullptr ? 0 : engine.experts()->layouts().n_all();
}

ordered_json experts_json(const BenchResult& result) {
    const runtime::RamTier* tier = result.engine.experts();
    ordered_json experts{{"n_experts", n_experts(result.engine)},
                         {"n_experts_in_memory", n_experts_in_memory(result.engine)}};
    experts["cache_policy"] = tier == nullptr ? ordered_json() : ordered_json(tier->options().policy);
    experts["cache_scope"] =
        tier == nullptr ? ordered_json() : ordered_json(cache::scope_name(tier->options().scope));
    experts["prefetch_layers"] =
        tier == nullptr ? ordered_json() : ordered_json(tier->options().prefetch_layers);
    const cache::CacheCounters& counters = result.speed.experts;
    experts["hit_rate"] = counters.n_demanded() == 0 ? ordered_json() : ordered_json(counters.hit_rate());
    experts["bytes_read"] = counters.n_bytes_read;
    experts["stall_us"] = counters.stall_us;
    return experts;
}

std::string backend(const runtime::Engine& engine) { return engine.gpu() == nullptr ? "CPU" : "CUDA"; }

ordered_json gpu_json(const BenchResult& result) {
    const std::optional<runtime::GpuUsage> usage = result.engine.gpu_usage();
    const runtime::VramCounters& counters = result.speed.vram;
    const auto with_gpu = [&usage](auto value) { return usage ? ordered_json(value) : ordered_json(); };
    const runtime::GpuUsage& known = usage ? *usage : runtime::GpuUsage();
    return {{"n_gpu_layers", with_gpu(known.layers.size())},
            {"vram_budget", with_gpu(known.total_bytes)},
            {"vram_used", with_gpu(known.used_bytes)},
            {"n_experts_in_vram", with_gpu(known.n_slots)},
            {"vram_hits", with_gpu(counters.n_hits)},
            {"vram_misses", with_gpu(counters.n_misses)},
            {"vram_uploads", with_gpu(counters.n_uploads)},
            {"vram_hit_rate", with_gpu(counters.hit_rate())},
            {"stream_above", usage && known.stream_above < runtime::GpuOptions::kNeverStream
                                 ? ordered_json(known.stream_above)
                                 : ordered_json()},
            {"batches_streamed", with_gpu(counters.n_batches_streamed)},
            {"bytes_streamed", with_gpu(counters.n_bytes_streamed)},
            {"pcie_bytes", with_gpu(counters.n_bytes_over_link())},
            {"cpu_share", with_gpu(counters.cpu_share())}};
}

// A value in a line of CSV (RFC 4180); a list as its elements with blanks between them.
std::string csv_text(const ordered_json& value) {
    if (value.is_null()) return "";
    if (value.is_array()) {
        std::string list;
        for (const ordered_json& element : value) list += (list.empty() ? "" : " ") + element.dump();
        return list;
    }
    if (!value.is_string()) return value.dump();
    std::string quoted = "\"";
    for (const char c : value.get_ref<const std::string&>()) quoted += c == '"' ? "\"\"" : std::string(1, c);
    return quoted + "\"";
}

std::string csv_header(const ordered_json& object) {
    std::string line;
    for (const auto& [key, value] : object.items()) line += (line.empty() ? "" : ",") + key;
    return line + "\n";
}

std::string csv_line(const ordered_json& object) {
    std::string line;
    for (const ordered_json& value : object) line += (&value == &object.front() ? "" : ",") + csv_text(value);
    return line + "\n";
}

// A path may be no UTF-8.
std::string json_text(const ordered_json& object, int indent) {
    return object.dump(indent, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace

Spread spread_of(const std::vector<double>& values) {
    if (values.empty()) return {};
    const auto n = static_cast<double>(values.size());
    const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
    if (values.size() == 1) return {mean, 0};
    double squares = 0;
    for (const double value : values) squares += (value - mean) * (value - mean);
    return {mean, std::sqrt(squares / (n - 1))};
}

bool build_has_assertions() noexcept {
#if defined(NDEBUG) && !defined(_GLIBCXX_ASSERTIONS)
    return false;
#else
    return true;
#endif
}

ordered_json as_json(const BenchResult& result) {
    const Spread ns = spread_of(as_doubles(result.speed.samples_ns));
    const std::vector<double> speeds = tokens_per_s(result);
    const Spread speed = spread_of(speeds);
    const runtime::SessionOptions& options = result.options;
    const std::optional<runtime::GpuUsage> usage = result.engine.gpu_usage();
    ordered_json object{
        {"build_version", GREENROOM_VERSION},
        {"build_has_assertions", build_has_assertions()},
        {"cpu_info", cpu::read_topology().cpu_name},
        {"cpu_isa", cpu::isa_name(cpu::select_isa())},
        {"backends", backend(result.engine)},
        {"gpu_info", usage ? ordered_json(usage->device_name) : ordered_json()},
        {"model_filename", result.engine.file().path()},
        {"model_type", model_text(result.model)},
        {"model_size", model_bytes(result.model)},
        {"model_n_params", result.model.n_parameters},
        {"n_batch", options.batch_tokens},
        {"n_threads", result.engine.n_threads()},
        {"n_threads_batch", result.engine.n_threads_batch()},
        {"type_k", runtime::kv_type_name(options.kv_types.keys)},
        {"type_v", runtime::kv_type_name(options.kv_types.values)},
        {"activations", activations_name(options.activations)},
        {"ram_budget", result.engine.memory_budget().total},
        {"resident_weights", result.engine.resident_weights_bytes()},
        {"kv_cache", result.session.kv_cache_bytes()},
        {"working_memory", result.session.working_bytes()},
    };
    object.update(experts_json(result));
    object.update(gpu_json(result));
    object.update(ordered_json{
        {"warmup", result.warmup == Warmup::yes},
        {"n_prompt", result.test.n_prompt},
        {"n_gen", result.test.n_gen},
        {"n_depth", result.test.n_depth},
        {"test_time", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                                  fmt::gmtime(std::chrono::system_clock::to_time_t(result.speed.begin)))},
        {"avg_ns", std::llround(ns.mean)},
        {"stddev_ns", std::llround(ns.deviation)},
        {"avg_ts", speed.mean},
        {"stddev_ts", speed.deviation},
        {"samples_ns", result.speed.samples_ns},
        {"samples_ts", speeds},
        {"peak_rss", runtime::peak_resident_set_bytes()},
    });
    return object;
}

void BenchReport::add(const BenchResult& result) {
    if (!is_begun_) {
        shows_vram_hits_ = result.engine.gpu() != nullptr && n_experts(result.engine) > 0;
        shows_hits_ = n_experts_in_memory(result.engine) < n_experts(result.engine) ||
                      std::any_of(result.given.begin(), result.given.end(),
                                  [](const GivenFlag& flag) { return flag.first == "--ram"; });
    }
    std::string text;
    switch (format_) {
        case BenchFormat::md:
            text = table_text(result);
            break;
        case BenchFormat::csv: {
            const ordered_json object = as_json(result);
            text = (is_begun_ ? "" : csv_header(object)) + csv_line(object);
            break;
        }
        case BenchFormat::json:
            text = (is_begun_ ? ",\n" : "[\n") + json_text(as_json(result), 2);
            break;
        case BenchFormat::jsonl:
            text = json_text(as_json(result), -1) + "\n";
            break;
    }
    is_begun_ = true;
    write_output(text);
}

void BenchReport::end() {
    if (is_begun_ && format_ == BenchFormat::json) write_output("\n]\n");
}

std::vector<BenchReport::Column> BenchReport::columns_of(const BenchResult& result) const {
    const Spread speed = spread_of(tokens_per_s(result));
    std::vector<Column> columns{
        {"model", model_text(result.model), 24, true},
        {"size", human_bytes(model_bytes(result.model)), 10, false},
        {"params", human_count(result.model.n_parameters), 8, false},
        {"backend", backend(result.engine), 7, true},
        {"threads", fmt::format("{}", result.engine.n_threads()), 7, false},
    };
    for (const auto& [flag, value] : result.given)
        if (flag != "--threads") columns.push_back({flag.substr(2), printable(value, 40), 6, false});
    if (shows_hits_)
        columns.push_back({"hits", fmt::format("{:.1f} %", 100 * result.speed.experts.hit_rate()), 7, false});
    if (shows_vram_hits_)
        columns.push_back(
            {"vram hits", fmt::format("{:.1f} %", 100 * result.speed.vram.hit_rate()), 9, false});
    columns.push_back({"test", result.test.name(), 17, false});
    columns.push_back({"t/s", fmt::format("{:.2f} ± {:.2f}", speed.mean, speed.deviation), 18, false});
    return columns;
}

std::string BenchReport::table_text(const BenchResult& result) const {
    std::string titles = "|";
    std::string rule = "|";
    std::string values = "|";
    for (const Column& column : columns_of(result)) {
        const std::size_t width = std::max(column.width, column.title.size());
        const auto cell = [&](const std::string& text) {
            return column.is_text ? fmt::format(" {:<{}} |", text, width)
                                  : fmt::format(" {:>{}} |", text, width);
        };
        titles += cell(column.title);
        rule += " " + std::string(width - 1, '-') + (column.is_text ? "-" : ":") + " |";
        values += cell(column.value);
    }
    return is_begun_ ? values + "\n" : titles + "\n" + rule + "\n" + values + "\n";
}

}  // namespace greenroom::tools
