#pragma once

// HarmonyReader: gpt-oss's format, a row of messages with a header each:
//
//     <|start|>assistant<|channel|>analysis<|message|>…<|end|>     reasoning
//     <|start|>assistant<|channel|>final<|message|>…<|return|>     content, as is any other channel without
//     recipient
//     <|start|>assistant<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{…}<|call|>     a
//     call
//
// The recipient may also stand in the role (assistant to=functions.NAME). The prompt has begun the first
// header. Source: github.com/openai/harmony, docs/format.md.

#include "runtime/text/output/json_scanner.h"
#include "runtime/text/output/marker_scanner.h"
#include "runtime/text/output/output_reader.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace greenroom::text {

class HarmonyReader : public OutputReader {
  public:
    explicit HarmonyReader(std::string_view prompt_suffix);

    void push(std::string_view text, OutputMessage& out) override;
    void finish(OutputEnd end, OutputMessage& out) override;

  private:
    enum class State : std::uint8_t { header, reasoning, content, call };
    enum class HeaderPart : std::uint8_t { role, channel, constraint };

    bool read_header(OutputMessage& out);
    bool read_text(std::string& part);
    bool read_call(OutputMessage& out);

    void begin_header(std::size_t n_marker_bytes);
    void end_header();
    void end_call(std::size_t n_marker_bytes, OutputMessage& out);
    void end_message(const MarkerScanner::Piece& marker);

    MarkerScanner scanner_;  // holds headers and calls
    State state_ = State::header;
    HeaderPart header_part_ = HeaderPart::role;
    std::string role_;
    std::string channel_;
    std::string function_;  // that is called
    JsonScanner json_;
    std::string arguments_;
};

}  // namespace greenroom::text
