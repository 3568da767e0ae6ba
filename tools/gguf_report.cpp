#include "tools/gguf_report.h"

#include "quant/base/error.h"
#include "runtime/arch/registry.h"
#include "runtime/session.h"

#include <nlohmann/json.hpp>

#include <utility>

namespace greenroom::tools {
namespace {

using Json = nlohmann::json;

Json json_of(const quant::GgufValue& value) {
    if (const auto text = value.as_string()) return *text;
    if (const auto flag = value.as_bool()) return *flag;
    if (const auto number = value.as_uint()) return *number;
    if (const auto number = value.as_int()) return *number;
    if (const auto number = value.as_double()) return *number;
    Json list = Json::array();
    const quant::GgufArray& array = *value.as_array();
    for (std::size_t i = 0; i < array.size(); ++i) list.push_back(json_of(array[i]));
    return list;
}

Json metadata_of(const quant::Gguf& gguf) {
    Json metadata = Json::object();
    for (const quant::GgufEntry& entry : gguf.entries()) {
        Json& item = metadata[std::string(entry.key)];
        item = {{"type", gguf_type_name(entry.value.type())}, {"value", json_of(entry.value)}};
        if (const quant::GgufArray* array = entry.value.as_array())
            item["element_type"] = gguf_type_name(array->element_type());
    }
    return metadata;
}

Json tensors_of(const GgufReport& report) {
    Json tensors = Json::array();
    for (const quant::GgufTensor& tensor : report.gguf.tensors()) {
        const auto first = tensor.view.shape.begin();
        tensors.push_back({{"name", tensor.name},
                           {"type", quant::type_name(tensor.view.type)},
                           {"shape", std::vector<std::int64_t>(first, first + tensor.view.n_dims)},
                           {"bytes", tensor.view.bytes()},
                           {"offset", tensor.file_offset},
                           {"part", report.is_one_of_several() ? report.part : tensor.part + 1}});
    }
    return tensors;
}

Json kv_cache_of(const GgufReport& report) {
    if (!report.kv_cache) return nullptr;
    return {{"key_type", runtime::kv_type_name(report.kv_types.keys)},
            {"value_type", runtime::kv_type_name(report.kv_types.values)},
            {"bytes_per_token", report.kv_cache->bytes_per_token()},
            {"window_bytes", report.kv_cache->ring_bytes()},
            {"state_bytes", report.kv_cache->state_bytes()},
            {"checkpoint_bytes", report.kv_cache->checkpoint_bytes()}};
}

// Of a session with all of the model's context, if Greenroom can run the model.
std::optional<runtime::KvLayout> kv_layout_of(const quant::Gguf& gguf, const runtime::KvTypes& types) {
    runtime::ModelSpec spec;
    try {
        spec = runtime::read_model_spec(gguf);
    } catch (const Error&) {
        return std::nullopt;  // other parts of the report say what there is
    }
    runtime::check_kv_types(spec, types);
    return runtime::kv_layout(spec, types, runtime::WindowRows::ring, spec.context_length,
                              runtime::SessionOptions{}.batch_tokens);
}

Json types_of(const runtime::ModelInventory& model) {
    Json types = Json::array();
    for (const runtime::TypeShare& share : model.types)
        types.push_back({{"type", quant::type_name(share.type)},
                         {"n_tensors", share.n_tensors},
                         {"n_values", share.n_values},
                         {"bytes", share.bytes}});
    return types;
}

}  // namespace

GgufReport open_report(const std::string& path, const runtime::KvTypes& kv_types) {
    GgufReport report{quant::Gguf::open(path, quant::SplitParts::first_only), {}, 1, kv_types, {}};
    if (report.gguf.n_parts_expected() > 1) {
        const quant::GgufValue* number = report.gguf.find("split.no");
        const std::uint64_t part_no = (number != nullptr ? number->as_uint() : std::nullopt).value_or(0);
        report.part = part_no + 1;
        try {
            if (part_no == 0) report.gguf = quant::Gguf::open(path);
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::io) throw;
            // A part is missing: what is here can still be described.
        }
    }
    report.inventory = runtime::take_inventory(report.gguf);
    report.kv_cache = kv_layout_of(report.gguf, kv_types);
    return report;
}

std::string as_json(const GgufReport& report) {
    const quant::Gguf& gguf = report.gguf;
    const runtime::ModelInventory& model = report.inventory;
    Json object{{"path", gguf.path()},
                {"part_paths", gguf.part_paths()},
                {"n_parts", gguf.n_parts_expected()},
                {"gguf_version", gguf.version()},
                {"alignment", gguf.alignment()},
                {"file_bytes", gguf.file_bytes()},
                {"architecture", model.architecture},
                {"name", model.name},
                {"file_type", model.file_type},
                {"known_architecture", model.known_architecture},
                {"n_parameters", model.n_parameters},
                {"n_active_parameters", model.n_active_parameters},
                {"resident_bytes", model.resident_bytes},
                {"expert_bytes", model.expert_bytes},
                {"active_bytes", model.active_bytes},
                {"n_layers", model.n_layers},
                {"n_moe_layers", model.n_moe_layers},
                {"n_experts", model.n_experts},
                {"top_k", model.top_k},
                {"one_expert_bytes", model.one_expert_bytes},
                {"context_length", model.context_length},
                {"kv_cache", kv_cache_of(report)},
                {"types", types_of(model)},
                {"metadata", metadata_of(gguf)},
                {"tensors", tensors_of(report)}};
    if (report.is_one_of_several()) object["part"] = report.part;
    return object.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace greenroom::tools
