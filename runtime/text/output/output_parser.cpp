#include "runtime/text/output/output_parser.h"

#include "runtime/text/output/bare_calls.h"
#include "runtime/text/output/harmony_reader.h"
#include "runtime/text/output/markup_reader.h"
#include "runtime/text/output/tagged_json_calls.h"
#include "runtime/text/output/xml_calls.h"

#include <algorithm>
#include <utility>

namespace greenroom::text {
namespace {

std::vector<std::string> end_markers_of(OutputFormat format) {
    switch (format) {
        case OutputFormat::kimi_k2:
            return {"<|im_end|>"};
        case OutputFormat::deepseek_v3:
        case OutputFormat::deepseek_v3_1:
        case OutputFormat::deepseek_v3_2:
            return {"<｜end▁of▁sentence｜>"};
        case OutputFormat::hermes:
        case OutputFormat::qwen3_coder:
            return {"<|im_end|>", "<|endoftext|>"};
        case OutputFormat::llama4:
            return {"<|eot|>", "<|eom|>", "<|end_of_text|>"};
        case OutputFormat::instruct:
        case OutputFormat::mistral:
            return {"</s>"};
        case OutputFormat::harmony:
            return {"<|endoftext|>"};
        case OutputFormat::plain:
            break;
    }
    return {};
}

// Takes an end marker off the very end of a text; anywhere else it is text.
class EndMarkerFilter {
  public:
    explicit EndMarkerFilter(std::vector<std::string> markers) : markers_(std::move(markers)) {
        std::erase_if(markers_, [](const std::string& marker) { return marker.empty(); });
        // The scanner wants none that begins with another: of those the shorter ones count.
        std::sort(markers_.begin(), markers_.end());
        for (const std::string& marker : markers_)
            if (views_.empty() || !marker.starts_with(views_.back())) views_.emplace_back(marker);
    }

    EndMarkerFilter(const EndMarkerFilter&) = delete;  // the views are of its own strings
    EndMarkerFilter& operator=(const EndMarkerFilter&) = delete;

    std::string push(std::string_view text) {
        scanner_.push(text);
        std::string passed;
        for (;;) {
            const MarkerScanner::Piece piece = scanner_.next(views_);
            if (piece.empty()) return passed;
            passed += std::exchange(held_, {});
            (piece.is_marker() ? held_ : passed) += piece.text;
        }
    }

    std::string finish() {
        scanner_.finish();
        return push({});
    }

  private:
    std::vector<std::string> markers_;
    std::vector<std::string_view> views_;
    MarkerScanner scanner_;
    std::string held_;  // the end marker that came last, if nothing came behind it
};

// With harmony the ends of messages are read as such, by the reader.
std::vector<std::string> all_end_markers(OutputFormat format, const std::vector<std::string>& more) {
    std::vector<std::string> markers = end_markers_of(format);
    if (format != OutputFormat::harmony) markers.insert(markers.end(), more.begin(), more.end());
    return markers;
}

std::unique_ptr<OutputReader> make_reader(OutputFormat format, std::string_view prompt_suffix,
                                          const ToolSchema& schema) {
    if (format == OutputFormat::harmony) return std::make_unique<HarmonyReader>(prompt_suffix);
    return std::make_unique<MarkupReader>(make_call_syntax(format, schema), prompt_suffix);
}

void append(OutputMessage& message, const OutputMessage& part) {
    message.reasoning_content += part.reasoning_content;
    message.content += part.content;
    message.tool_calls.insert(message.tool_calls.end(), part.tool_calls.begin(), part.tool_calls.end());
}

}  // namespace

CallSyntax make_call_syntax(OutputFormat format, const ToolSchema& schema) {
    CallSyntax syntax;
    switch (format) {
        case OutputFormat::kimi_k2:
        case OutputFormat::deepseek_v3:
        case OutputFormat::deepseek_v3_1:
        case OutputFormat::hermes: {
            const TaggedJsonSyntax tagged = tagged_json_syntax(format);
            syntax.section_begin = tagged.section_begin;
            syntax.section_end = tagged.section_end;
            syntax.call_begin = tagged.call_begin;
            syntax.ends_reasoning = format != OutputFormat::hermes;
            syntax.reader = std::make_unique<TaggedJsonReader>(tagged);
            break;
        }
        case OutputFormat::deepseek_v3_2:
        case OutputFormat::qwen3_coder: {
            const XmlSyntax xml = xml_syntax(format);
            syntax.section_begin = xml.section_begin;
            syntax.section_end = xml.section_end;
            syntax.call_begin = xml.call_begin;
            syntax.reader = std::make_unique<XmlCallReader>(xml, schema);
            break;
        }
        case OutputFormat::mistral:
            syntax.call_begin = "[TOOL_CALLS]";
            syntax.reader = std::make_unique<JsonArrayCallReader>();
            break;
        case OutputFormat::llama4:
            syntax.section_begin = "<|python_start|>";
            syntax.section_end = "<|python_end|>";
            syntax.bare = true;
            syntax.reader = std::make_unique<JsonOrPythonCallReader>(schema);
            break;
        case OutputFormat::plain:
        case OutputFormat::instruct:
        case OutputFormat::harmony:
            break;
    }
    return syntax;
}

struct OutputParser::Impl {
    Impl(OutputFormat format, const OutputParserOptions& options)
        : schema(options.tools ? ToolSchema(*options.tools) : ToolSchema()),
          ends(all_end_markers(format, options.end_markers)),
          reader(make_reader(format, options.prompt_suffix, schema)),
          drops_space(format == OutputFormat::instruct || format == OutputFormat::mistral) {}

    ToolSchema schema;
    EndMarkerFilter ends;
    std::unique_ptr<OutputReader> reader;
    bool drops_space;  // if the text begins with one
    OutputMessage message;
    OutputEnd end = OutputEnd::complete;
};

OutputParser::OutputParser(OutputFormat format, const OutputParserOptions& options)
    : impl_(std::make_unique<Impl>(format, options)) {}

OutputParser::~OutputParser() = default;
OutputParser::OutputParser(OutputParser&&) noexcept = default;
OutputParser& OutputParser::operator=(OutputParser&&) noexcept = default;

OutputMessage OutputParser::push(std::string_view text) {
    if (impl_->drops_space && !text.empty()) {
        if (text.front() == ' ') text.remove_prefix(1);
        impl_->drops_space = false;
    }
    OutputMessage part;
    impl_->reader->push(impl_->ends.push(text), part);
    append(impl_->message, part);
    return part;
}

OutputMessage OutputParser::finish(OutputEnd end) {
    OutputMessage part;
    impl_->reader->push(impl_->ends.finish(), part);
    impl_->reader->finish(end, part);
    append(impl_->message, part);
    impl_->end = end;
    return part;
}

const OutputMessage& OutputParser::message() const noexcept { return impl_->message; }

FinishReason OutputParser::finish_reason() const noexcept {
    if (impl_->end == OutputEnd::cut_off) return FinishReason::length;
    return impl_->message.tool_calls.empty() ? FinishReason::stop : FinishReason::tool_calls;
}

}  // namespace greenroom::text
