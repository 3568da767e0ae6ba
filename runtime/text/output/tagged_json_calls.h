#pragma once

// TaggedJsonReader: calls whose arguments are JSON between markers (Kimi K2, DeepSeek V3 and V3.1, Hermes and
// Qwen3):
//
//     call_begin  text  separator  text  separator  JSON  trailer  call_end
//
// A marker within a JSON string is text. Any other marker ends the call, and so does the end of the output.

#include "runtime/text/output/call_reader.h"
#include "runtime/text/output/json_scanner.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::text {

struct TaggedJsonSyntax {
    std::string_view section_begin, section_end;  // may be empty
    std::string_view call_begin, call_end;
    std::vector<std::string_view> separators;
    std::string_view trailer;  // may stand between the JSON and call_end

    // The call, from the texts before the separators and the JSON, which is well-formed. Nothing if it is
    // none.
    std::optional<ToolCall> (*make_call)(std::span<const std::string> headers, std::string_view json);
};

// Of kimi_k2, deepseek_v3, deepseek_v3_1, hermes.
TaggedJsonSyntax tagged_json_syntax(OutputFormat format);

class TaggedJsonReader : public CallReader {
  public:
    explicit TaggedJsonReader(TaggedJsonSyntax syntax);

    void begin() override;
    Status read(MarkerScanner& scanner) override;
    Status finish() override;

  private:
    std::span<const std::string_view> markers() const noexcept;

    TaggedJsonSyntax syntax_;
    std::vector<std::string_view>
        header_markers_;                // the separator that comes next, then those that end the call
    std::vector<std::string> headers_;  // complete when there is one for each separator
    std::string header_;                // the next of them
    JsonScanner json_;
    std::string json_text_;
    std::string trailer_;
};

// {"name": "f", "arguments": {…}} as a call; also "parameters" for "arguments", arguments as a string that
// holds JSON, none at all, and an "id". Nothing for any other JSON.
std::optional<ToolCall> call_from_json(std::string_view object);

}  // namespace greenroom::text
