// greenroom inspect: what a GGUF file holds, as a page for people or as JSON. Never touches the weights.

#include "quant/base/error.h"
#include "quant/gguf.h"
#include "runtime/model_inventory.h"
#include "tools/command.h"
#include "tools/gguf_report.h"
#include "tools/options.h"
#include "tools/printable.h"
#include "tools/standard_streams.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

namespace greenroom::tools {
namespace {

constexpr const char* kExamples =
    R"(Works on every GGUF file: models that Greenroom can't run, vocabularies, single parts of a split model.

With --json one object; sizes in bytes, counts as numbers, 0 for what the file doesn't say:
  path, part_paths, n_parts, part (only of a file opened alone; from 1), gguf_version, alignment,
  file_bytes, architecture, name, file_type, known_architecture, n_parameters, n_active_parameters, resident_bytes,
  expert_bytes, active_bytes, n_layers, n_moe_layers, n_experts, top_k, one_expert_bytes, context_length,
  kv_cache: {key_type, value_type, bytes_per_token, window_bytes, state_bytes, checkpoint_bytes}, or null
  for a model that Greenroom can't run; windows as for the whole context in batches of 512,
  types: [{type, n_tensors, n_values, bytes}], metadata: {KEY: {type, element_type, value}},
  tensors: [{name, type, shape, bytes, offset, part}]; offset in its part, parts from 1, shape in ggml's
  order, the length of a row first

Examples:
  greenroom inspect model.gguf
  greenroom inspect model-00001-of-00003.gguf --kv --tensors
  greenroom inspect model.gguf --json | jq .n_active_parameters)";

using Text = std::back_insert_iterator<std::string>;

std::string kv_cache_text(const runtime::KvLayout& layout, const runtime::KvTypes& types) {
    std::string text = fmt::format("{} bytes per token", layout.bytes_per_token());
    if (layout.ring_bytes() > 0) text += fmt::format(", windows {}", human_bytes(layout.ring_bytes()));
    if (layout.state_bytes() > 0)
        text += fmt::format(", recurrent state 2 × {}", human_bytes(layout.state_bytes()));
    return text + fmt::format(" (keys {}, values {})", runtime::kv_type_name(types.keys),
                              runtime::kv_type_name(types.values));
}

void write_summary(Text out, const GgufReport& report) {
    const auto line = [&out](std::string_view label, const std::string& value) {
        out = fmt::format_to(out, "{:<16}{}\n", label, value);
    };
    const quant::Gguf& gguf = report.gguf;
    const runtime::ModelInventory& model = report.inventory;
    line("file", fmt::format("{} (GGUF version {}, {})", printable(gguf.path()), gguf.version(),
                             human_bytes(static_cast<std::int64_t>(gguf.file_bytes()))));
    if (report.is_one_of_several())
        line("parts", fmt::format("part {} of {} alone, {} tensors here; what follows counts these only",
                                  report.part, gguf.n_parts_expected(), gguf.tensors().size()));
    else if (gguf.n_parts_expected() > 1)
        line("parts", fmt::format("{}", gguf.n_parts_expected()));
    line("architecture",
         printable(model.architecture, 80) + (model.known_architecture ? "" : " (Greenroom can't run it)"));
    if (!model.name.empty()) line("name", printable(model.name, 80));
    if (!model.file_type.empty()) line("file type", model.file_type);
    if (model.context_length > 0) line("context", fmt::format("{} tokens", model.context_length));
    if (gguf.tensors().empty()) return line("tensors", "none");

    line("parameters", fmt::format("{}, {} of them used for a token", human_count(model.n_parameters),
                                   human_count(model.n_active_parameters)));
    line("layers", fmt::format("{}, {} of them with experts", model.n_layers, model.n_moe_layers));
    if (model.n_moe_layers > 0)
        line("experts", fmt::format("{} layers × {} experts × {}, {} used for a token", model.n_moe_layers,
                                    model.n_experts, human_bytes(model.one_expert_bytes), model.top_k));
    line("resident", human_bytes(model.resident_bytes));
    line("routed experts", human_bytes(model.expert_bytes));
    line("read per token", human_bytes(model.active_bytes));
    if (report.kv_cache) line("KV cache", kv_cache_text(*report.kv_cache, report.kv_types));
}

void write_types(Text out, const runtime::ModelInventory& model) {
    out = fmt::format_to(out, "\n{:<10}{:>8}{:>12}{:>14}\n", "type", "tensors", "values", "size");
    for (const runtime::TypeShare& share : model.types)
        out = fmt::format_to(out, "{:<10}{:>8}{:>12}{:>14}\n", quant::type_name(share.type), share.n_tensors,
                             human_count(share.n_values), human_bytes(share.bytes));
}

std::string value_text(const quant::GgufValue& value) {
    constexpr std::size_t kShownChars = 80;
    constexpr std::size_t kShownElements = 8;
    if (const auto text = value.as_string()) return fmt::format("\"{}\"", printable(*text, kShownChars));
    if (const auto flag = value.as_bool()) return *flag ? "true" : "false";
    if (const quant::GgufArray* array = value.as_array()) {
        std::string out = "[";
        for (std::size_t i = 0; i < std::min(array->size(), kShownElements); ++i)
            out += (i > 0 ? ", " : "") + value_text((*array)[i]);
        return out + (array->size() > kShownElements ? fmt::format(", … {} in all]", array->size()) : "]");
    }
    if (const auto number = value.as_uint()) return fmt::format("{}", *number);
    if (const auto number = value.as_int()) return fmt::format("{}", *number);
    // A float32 was widened; its own shortest form is the one that was meant.
    const double number = *value.as_double();
    return value.type() == quant::GgufType::f32 ? fmt::format("{}", static_cast<float>(number))
                                                : fmt::format("{}", number);
}

std::string type_text(const quant::GgufValue& value) {
    const quant::GgufArray* array = value.as_array();
    return array == nullptr ? std::string(gguf_type_name(value.type()))
                            : fmt::format("{}[]", gguf_type_name(array->element_type()));
}

void write_metadata(Text out, const quant::Gguf& gguf) {
    constexpr std::size_t kKeyChars = 60;
    std::size_t width = 0;
    for (const quant::GgufEntry& entry : gguf.entries())
        width = std::max(width, std::min(entry.key.size(), kKeyChars));
    out = fmt::format_to(out, "\n");
    for (const quant::GgufEntry& entry : gguf.entries())
        out = fmt::format_to(out, "{:<{}}  {:<8}  {}\n", printable(entry.key, kKeyChars), width,
                             type_text(entry.value), value_text(entry.value));
}

void write_tensors(Text out, const quant::Gguf& gguf) {
    constexpr std::size_t kNameChars = 60;
    std::size_t width = 4;
    for (const quant::GgufTensor& tensor : gguf.tensors())
        width = std::max(width, std::min(tensor.name.size(), kNameChars));
    out = fmt::format_to(out, "\n{:<{}}  {:<8}  {:<24}  {:>15}  {:>15}\n", "name", width, "type", "shape",
                         "bytes", "offset");
    for (const quant::GgufTensor& tensor : gguf.tensors()) {
        const auto first = tensor.view.shape.begin();
        out = fmt::format_to(out, "{:<{}}  {:<8}  {:<24}  {:>15}  {:>15}{}\n",
                             printable(tensor.name, kNameChars), width, quant::type_name(tensor.view.type),
                             fmt::format("{}", fmt::join(first, first + tensor.view.n_dims, " × ")),
                             tensor.view.bytes(), tensor.file_offset,
                             tensor.part > 0 ? fmt::format("  part {}", tensor.part + 1) : "");
    }
}

class InspectCommand : public Command {
  public:
    explicit InspectCommand(CLI::App& program)
        : Command(*program.add_subcommand("inspect", "Describe a GGUF file")) {
        app_.footer(kExamples);
        app_.add_option("file", path_, "A GGUF file, or the first part of a split one")
            ->required()
            ->type_name("");
        app_.add_flag("--kv", shows_metadata_, "List the metadata too; long values are shortened");
        app_.add_flag("--tensors", shows_tensors_, "List the tensors too");
        app_.add_flag("--json", json_, "Print everything as one JSON object");
        add_kv_type_options(app_, kv_types_);
    }

    int run() override {
        const GgufReport report = open_report(path_, kv_types_);
        std::string text;
        if (json_) {
            text = as_json(report);
        } else {
            write_summary(Text(text), report);
            if (!report.inventory.types.empty()) write_types(Text(text), report.inventory);
            if (shows_metadata_) write_metadata(Text(text), report.gguf);
            if (shows_tensors_) write_tensors(Text(text), report.gguf);
        }
        write_output(text);
        return kExitOk;
    }

  private:
    std::string path_;
    bool shows_metadata_ = false;
    bool shows_tensors_ = false;
    bool json_ = false;
    runtime::KvTypes kv_types_;
};

}  // namespace

std::unique_ptr<Command> make_inspect_command(CLI::App& program) {
    return std::make_unique<InspectCommand>(program);
}

}  // namespace greenroom::tools
