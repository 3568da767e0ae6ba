#pragma once

// OutputParser: takes the text that a model writes and tells reasoning, content and calls of functions apart,
// while it is written.
//
//     OutputParser parser(detect_output_format(chat_template), {.prompt_suffix = prompt});
//     for each piece: show(parser.push(piece));
//     show(parser.finish(OutputEnd::complete));      // parser.message() is all of it
//
// - The result does not depend on how the text was cut, and the parts that push() and finish() return add up
// to
//   message(). Text made of whole UTF-8 characters gives parts made of whole characters.
// - Content and reasoning are returned as soon as they can be no marker: what is held back is at most a
// marker and the
//   whitespace (64 bytes) before it. A call is returned as a whole, when its end shows that it is one.
// - Nothing is refused and nothing is lost: what looks like a call and is none (bad JSON, no end, more than 4
// MiB) is
//   content, markers included. Only whitespace beside a marker that counts is left out.
// - Takes time linear in the text.
//
// The text has to hold the control tokens (Tokenizer::ControlTokens::show). Not thread-safe; one per answer.

#include "runtime/text/output/output_format.h"
#include "runtime/text/output/output_message.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::text {

// OpenAI's finish_reason.
enum class FinishReason { stop, tool_calls, length };

struct OutputParserOptions {
    // The prompt, or its end: it may open <think>, or begin a message (<|start|>assistant).
    std::string_view prompt_suffix;

    // The functions that the model may call, a JSON array as in OpenAI's requests; gives values their types.
    // Without it, any name is one; with an empty array, an answer that only looks like a call (llama4) is
    // content.
    std::optional<std::string_view> tools;

    // Texts of tokens that end an answer, beside those of the format. One at the very end is left out.
    std::vector<std::string> end_markers;
};

class OutputParser {
  public:
    // Error{bad_input} when `tools` is no JSON array.
    explicit OutputParser(OutputFormat format, const OutputParserOptions& options = {});
    ~OutputParser();
    OutputParser(OutputParser&&) noexcept;
    OutputParser& operator=(OutputParser&&) noexcept;

    // Takes the next piece of text and returns what it adds to the message.
    OutputMessage push(std::string_view text);

    // The text is at its end. Returns the rest of the message; call once, and push() no more.
    OutputMessage finish(OutputEnd end);

    const OutputMessage& message() const noexcept;

    // After finish(). `length` where the answer was cut off.
    FinishReason finish_reason() const noexcept;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace greenroom::text
