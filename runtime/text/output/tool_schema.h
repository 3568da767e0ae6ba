#pragma once

// ToolSchema: what the tools of a request say about names and parameters, as far as reading calls needs it:
// some families write every value as bare text, and only the schema tells "5" from 5. Immutable; any thread.

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

namespace greenroom::text {

class ToolSchema {
  public:
    // Nothing is known about any tool.
    ToolSchema() = default;

    // `tools`: a JSON array as in OpenAI's requests, [{"type": "function", "function": {"name",
    // "parameters"}}], or the functions alone. Error{bad_input} when it is no JSON array; what has another
    // shape in there is not known.
    explicit ToolSchema(std::string_view tools);

    // Whether the name may be called: anything may where no tools are known.
    bool allows(std::string_view name) const;

    // The JSON of a value that the model wrote as bare text. Text where the parameter may be a string; else
    // JSON, or a Python literal, if it is one; else text.
    std::string value_json(std::string_view tool, std::string_view parameter, std::string_view value) const;

  private:
    struct Parameter {
        bool is_text = false;   // may be a string
        bool nullable = false;  // may be null
    };
    using Parameters = std::unordered_map<std::string, Parameter>;

    std::unordered_map<std::string, Parameters> tools_;
    bool known_ = false;
};

}  // namespace greenroom::text
