#pragma once

// XmlCallReader: calls whose parameters stand in tags, values as bare text (Qwen3-Coder and Qwen3.5, DeepSeek
// V3.2):
//
//     <function=NAME> <parameter=KEY> value </parameter> … </function>
//
// The end tag of a parameter within a value is text: it counts only where another parameter or the call's end
// follows.

#include "runtime/text/output/call_reader.h"
#include "runtime/text/output/json_text.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace greenroom::text {

struct XmlSyntax {
    std::string_view section_begin, section_end;
    std::string_view call_begin, call_name_end, call_end;
    std::string_view parameter_begin, parameter_name_end, parameter_end;

    // Takes the parameter `tag` (what stands between parameter_begin and parameter_name_end) into the
    // arguments; false when it is none.
    bool (*add_parameter)(JsonObjectWriter& arguments, const ToolSchema& schema, std::string_view tool,
                          std::string_view tag, std::string_view value);
};

// Of deepseek_v3_2 and qwen3_coder.
XmlSyntax xml_syntax(OutputFormat format);

class XmlCallReader : public CallReader {
  public:
    XmlCallReader(const XmlSyntax& syntax, const ToolSchema& schema) : syntax_(syntax), schema_(schema) {}

    void begin() override;
    Status read(MarkerScanner& scanner) override;
    Status finish() override { return Status::failed; }  // without its end tag a call may be cut off

  private:
    enum class State : std::uint8_t {
        name,
        between,  // parameters
        tag,      // of a parameter
        value,
        after_value,  // an end tag was there; what follows decides whether it was one
    };

    MarkerScanner::Piece next(MarkerScanner& scanner) const;
    // `more` while the call goes on.
    Status take_marker(MarkerScanner& scanner, const MarkerScanner::Piece& piece);
    Status take_text(std::string_view text);
    Status end_parameter(State next);
    Status end_call();

    XmlSyntax syntax_;
    const ToolSchema& schema_;
    State state_ = State::name;
    std::string name_;
    std::string tag_;
    std::string value_;
    std::string gap_;  // whitespace behind an end tag
    JsonObjectWriter arguments_;
};

}  // namespace greenroom::text
