#include "runtime/text/output/tool_schema.h"

#include "quant/base/error.h"
#include "runtime/text/output/json_text.h"
#include "runtime/text/output/python_literal.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <optional>

namespace greenroom::text {
namespace {

using nlohmann::json;

const json& member(const json& object, const char* key) {
    static const json kNothing;
    if (!object.is_object()) return kNothing;
    const auto found = object.find(key);
    return found == object.end() ? kNothing : *found;
}

// Whether a value of this type fits the schema: by its "type", its "enum", or one of its alternatives.
bool may_be(const json& schema, const char* type, int depth = 0) {
    constexpr int kMostDepth = 16;
    if (depth > kMostDepth) return false;
    const json& declared = member(schema, "type");
    if (declared == type) return true;
    if (declared.is_array() && std::find(declared.begin(), declared.end(), type) != declared.end())
        return true;
    for (const json& value : member(schema, "enum"))
        if (declared.is_null() && value.type_name() == std::string_view(type)) return true;
    for (const char* alternatives : {"anyOf", "oneOf"})
        for (const json& alternative : member(schema, alternatives))
            if (may_be(alternative, type, depth + 1)) return true;
    return false;
}

}  // namespace

ToolSchema::ToolSchema(std::string_view tools) : known_(true) {
    const json parsed = json::parse(tools, nullptr, /*allow_exceptions=*/false);
    if (!parsed.is_array())
        fail(ErrorKind::bad_input, "tools: found {}, expected a JSON array of functions",
             parsed.is_discarded() ? "text that is no JSON" : parsed.type_name());
    for (const json& tool : parsed) {
        const json& function = member(tool, "function").is_object() ? member(tool, "function") : tool;
        const json& name = member(function, "name");
        if (!name.is_string()) continue;
        Parameters& parameters = tools_[name.get<std::string>()];
        const json& properties = member(member(function, "parameters"), "properties");
        if (!properties.is_object()) continue;
        for (const auto& [key, schema] : properties.items())
            parameters[key] = {may_be(schema, "string"), may_be(schema, "null")};
    }
}

bool ToolSchema::allows(std::string_view name) const { return !known_ || tools_.contains(std::string(name)); }

std::string ToolSchema::value_json(std::string_view tool, std::string_view parameter,
                                   std::string_view value) const {
    Parameter declared;
    if (const auto found = tools_.find(std::string(tool)); found != tools_.end())
        if (const auto of_name = found->second.find(std::string(parameter)); of_name != found->second.end())
            declared = of_name->second;
    const std::string_view bare = trimmed(value);
    if (declared.nullable && (bare == "null" || bare == "None")) return "null";
    if (declared.is_text) return json_quoted(value);
    if (is_json(bare)) return std::string(bare);
    if (std::optional<std::string> literal = python_literal_to_json(bare)) return std::move(*literal);
    return json_quoted(value);
}

}  // namespace greenroom::text
