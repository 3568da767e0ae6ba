#include "tools/gpu_options.h"

#include "gpu/device.h"
#include "quant/base/error.h"
#include "tools/options.h"
#include "tools/printable.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <limits>

namespace greenroom::tools {
namespace {

constexpr const char* kGroup = "GPU";
constexpr std::int64_t kAllLayers = std::numeric_limits<std::int32_t>::max();

// llama.cpp's words: "auto" and -1 leave it open, "all" and -2 are all.
std::optional<std::int64_t> parse_gpu_layers(const std::string& text) {
    if (text == "auto" || text == "-1") return std::nullopt;
    if (text == "all" || text == "-2") return kAllLayers;
    const std::string mistake = [number = text]() mutable { return whole_number(0, kAllLayers)(number); }();
    if (!mistake.empty()) bad_usage("--gpu-layers", mistake + ", auto or all");
    std::int64_t n_layers = 0;
    std::from_chars(text.data(), text.data() + text.size(), n_layers);
    return n_layers;
}

// Tokens per expert.
double parse_stream_above(std::string text) {
    if (text == "off") return runtime::GpuOptions::kNeverStream;
    const std::string mistake = number(0, runtime::GpuOptions::kNeverStream)(text);
    if (!mistake.empty()) bad_usage("--stream-above", mistake + ", or off");
    double tokens = 0;
    std::from_chars(text.data(), text.data() + text.size(), tokens);
    return tokens;
}

std::int64_t free_vram_bytes() {
    const std::vector<gpu::DeviceInfo> devices = gpu::list_devices();
    return devices.empty() ? 0 : static_cast<std::int64_t>(devices.front().free_bytes);
}

}  // namespace

void add_gpu_options(CLI::App& app, GpuFlags& flags) {
    app.add_option_function<std::string>(
           "--vram", [&flags](const std::string& text) { flags.vram = parse_memory_size("--vram", text); },
           fmt::format(
               "Memory of the GPU to use: {}. What the weights that every token needs and the context "
               "leave of it is for experts",
               kMemorySizeHelp))
        ->type_name("SIZE")
        ->default_str("what is free, less a reserve for the display")
        ->group(kGroup);
    app.add_option_function<std::string>(
           "--gpu-layers,--n-gpu-layers",
           [&flags](const std::string& text) { flags.n_gpu_layers = parse_gpu_layers(text); },
           "-ngl: layers that the GPU runs, from the last on; the output counts as one. 0: the CPU alone; "
           "all (or 99): everything on the GPU; auto: as many as fit, where there is a GPU")
        ->type_name("N")
        ->default_str("auto")
        ->group(kGroup);
    app.add_option("--n-cpu-moe", flags.n_cpu_experts,
                   "-ncmoe: the experts of the first N layers stay with the CPU, unless -ot says otherwise")
        ->check(whole_number(0, kAllLayers))
        ->type_name("N")
        ->default_str("0")
        ->group(kGroup);
    app.add_option("--device", flags.device, "-dev: none (the CPU alone) or CUDA0 (the GPU, or an error)")
        ->check([](const std::string& name) {
            if (name == "none" || name == "CUDA0") return std::string();
            return fmt::format(
                "found '{}', expected none or CUDA0. CUDA_VISIBLE_DEVICES=1 makes the second card CUDA0",
                printable(name, 40));
        })
        ->type_name("NAME")
        ->group(kGroup);
    app.add_option_function<std::string>(
           "--stream-above",
           [&flags](const std::string& text) { flags.stream_above = parse_stream_above(text); },
           "Batches that call an expert more than N times on average bring all experts to the GPU, layer by "
           "layer, those that -ncmoe leaves to the CPU too; off: none do")
        ->type_name("N")
        ->default_str("as `greenroom tune` or the start has measured")
        ->group(kGroup);
}

void add_expert_place_flags(CLI::App& app, GpuFlags& flags) {
    app.add_flag("--cpu-moe", flags.is_cpu_moe,
                 "-cmoe: all experts stay with the CPU, unless -ot says otherwise")
        ->group(kGroup);
    app.add_option_function<std::vector<std::string>>(
           "--override-tensor",
           [&flags](const std::vector<std::string>& texts) {
               try {
                   for (const std::string& text : texts)
                       std::ranges::move(runtime::parse_tensor_overrides(text),
                                         std::back_inserter(flags.overrides));
               } catch (const Error& error) {
                   bad_usage("--override-tensor", error.what());
               }
           },
           "-ot: the experts of layers whose tensors' names (blk.N.ffn_up_exps.weight) match a regular "
           "expression stay with the CPU (PATTERN=CPU) or may come to the GPU (PATTERN=CUDA0). The first "
           "rule that matches decides. Other tensors are moved by whole layers only (-ngl). May be repeated")
        ->allow_extra_args(false)
        ->type_name("PATTERN=DEVICE[,...]")
        ->group(kGroup);
}

runtime::GpuOptions gpu_options(const GpuFlags& flags, const runtime::Engine& engine) {
    using Use = runtime::GpuOptions::Use;
    const bool is_off = flags.device == "none" || flags.n_gpu_layers == 0;
    const char* off = flags.device == "none" ? "--device none" : "--gpu-layers 0";
    if (is_off && flags.vram.is_given())
        bad_usage("--vram",
                  fmt::format("asks for the GPU, and {} for the CPU alone; expected one of them", off));
    if (is_off && (flags.device == "CUDA0" || flags.n_gpu_layers.value_or(0) > 0))
        bad_usage(
            "--gpu-layers",
            "one of it and --device asks for the GPU, the other for the CPU alone; expected one of them");
    runtime::GpuOptions options;
    if (is_off) return options;
    const bool is_demanded = flags.vram.is_given() || flags.n_gpu_layers || flags.device == "CUDA0";
    options.use = is_demanded ? Use::on : Use::if_possible;
    if (flags.vram.is_given())
        options.vram_bytes = flags.vram.of(flags.vram.percent > 0 ? free_vram_bytes() : 0);
    if (flags.n_gpu_layers) options.n_layers = static_cast<int>(*flags.n_gpu_layers);
    options.stream_above = flags.stream_above;
    try {
        options.cpu_expert_layers = runtime::cpu_expert_layers(
            engine.file(), flags.overrides, flags.is_cpu_moe ? kAllLayers : flags.n_cpu_experts.value_or(0));
    } catch (const Error& error) {
        bad_usage("--override-tensor", error.what());
    }
    return options;
}

std::string layers_text(const runtime::GpuUsage& usage, int n_layers) {
    const int n = n_layers - usage.layers.first;
    if (n == n_layers) return fmt::format("all {} layers", n_layers);
    if (n == 0) return "the output alone (-ngl 1)";
    return fmt::format("{} of {} layers and the output (-ngl {})", n, n_layers, usage.layers.size());
}

std::string device_text(const runtime::Engine& engine) {
    const std::optional<runtime::GpuUsage> usage = engine.gpu_usage();
    if (!usage)
        return engine.why_no_gpu().empty() || !runtime::GpuLane::is_built()
                   ? ""
                   : fmt::format("greenroom: the CPU alone: {}\n", engine.why_no_gpu());
    std::string text =
        fmt::format("greenroom: on {}: {}; {} of its memory, {} for what every token needs",
                    printable(usage->device_name, 80), layers_text(*usage, engine.spec().n_layers()),
                    human_bytes(usage->total_bytes), human_bytes(usage->resident_bytes));
    if (const runtime::RamTier* tier = engine.experts(); tier != nullptr)
        text += fmt::format(", {} for {} of {} experts", human_bytes(usage->expert_bytes), usage->n_slots,
                            tier->layouts().n_all());
    return text + "\n";
}

}  // namespace greenroom::tools
