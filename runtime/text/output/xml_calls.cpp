#include "runtime/text/output/xml_calls.h"

#include "quant/base/error.h"

#include <utility>

namespace greenroom::text {
namespace {

// <｜DSML｜parameter name="city" string="true">Zürich: the tag is `city" string="true"`.
bool add_dsml_parameter(JsonObjectWriter& arguments, const ToolSchema& /*schema*/, std::string_view /*tool*/,
                        std::string_view tag, std::string_view value) {
    constexpr std::string_view kText = "\" string=\"true\"";
    constexpr std::string_view kJson = "\" string=\"false\"";
    if (tag.ends_with(kText)) {
        arguments.add(tag.substr(0, tag.size() - kText.size()), json_quoted(value));
        return true;
    }
    if (!tag.ends_with(kJson) || !is_json(value)) return false;
    arguments.add(tag.substr(0, tag.size() - kJson.size()), std::string(trimmed(value)));
    return true;
}

// The template puts a newline before and behind the value.
bool add_qwen_parameter(JsonObjectWriter& arguments, const ToolSchema& schema, std::string_view tool,
                        std::string_view tag, std::string_view value) {
    const std::string_view key = trimmed(tag);
    if (key.empty()) return false;
    if (value.starts_with('\n')) value.remove_prefix(1);
    if (value.ends_with('\n')) value.remove_suffix(1);
    arguments.add(key, schema.value_json(tool, key, value));
    return true;
}

}  // namespace

XmlSyntax xml_syntax(OutputFormat format) {
    switch (format) {
        case OutputFormat::deepseek_v3_2:
            return {"<｜DSML｜function_calls>",
                    "</｜DSML｜function_calls>",
                    "<｜DSML｜invoke name=\"",
                    "\">",
                    "</｜DSML｜invoke>",
                    "<｜DSML｜parameter name=\"",
                    ">",
                    "</｜DSML｜parameter>",
                    add_dsml_parameter};
        case OutputFormat::qwen3_coder:
            return {"<tool_call>", "</tool_call>", "<function=",      ">", "</function>", "<parameter=",
                    ">",           "</parameter>", add_qwen_parameter};
        default:
            fail(ErrorKind::internal, "no calls in tags in output format {}", static_cast<int>(format));
    }
}

void XmlCallReader::begin() {
    state_ = State::name;
    name_.clear();
    tag_.clear();
    value_.clear();
    gap_.clear();
    arguments_ = {};
}

CallReader::Status XmlCallReader::read(MarkerScanner& scanner) {
    for (;;) {
        const MarkerScanner::Piece piece = next(scanner);
        if (piece.empty()) return scanner.full() ? Status::failed : Status::more;
        const Status status = piece.is_marker() ? take_marker(scanner, piece) : take_text(piece.text);
        if (status != Status::more) return status;
    }
}

// The markers that count in each state; take_marker() knows their order.
MarkerScanner::Piece XmlCallReader::next(MarkerScanner& scanner) const {
    switch (state_) {
        case State::name:
            return scanner.next(std::array{syntax_.call_name_end});
        case State::tag:
            return scanner.next(std::array{syntax_.parameter_name_end});
        case State::value:
            return scanner.next(std::array{syntax_.parameter_end});
        case State::after_value:
            return scanner.next(std::array{syntax_.parameter_begin, syntax_.call_end, syntax_.parameter_end});
        case State::between:
            break;
    }
    return scanner.next(std::array{syntax_.parameter_begin, syntax_.call_end, syntax_.call_begin,
                                   syntax_.section_begin, syntax_.section_end});
}

CallReader::Status XmlCallReader::take_marker(MarkerScanner& scanner, const MarkerScanner::Piece& piece) {
    switch (state_) {
        case State::name:
            state_ = State::between;
            return Status::more;
        case State::tag:
            state_ = State::value;
            return Status::more;
        case State::value:
            state_ = State::after_value;
            return Status::more;
        case State::between:
            if (piece.marker == 0) {
                state_ = State::tag;
                return Status::more;
            }
            if (piece.marker == 1) return end_call();
            scanner.put_back(piece.text.size());
            return Status::failed;
        case State::after_value:
            break;
    }
    if (piece.marker == 0) return end_parameter(State::tag);
    if (piece.marker == 1) return end_parameter(State::between) == Status::more ? end_call() : Status::failed;
    value_ += syntax_.parameter_end;
    value_ += std::exchange(gap_, {});
    return Status::more;
}

CallReader::Status XmlCallReader::take_text(std::string_view text) {
    const bool is_blank = trimmed(text).empty();
    switch (state_) {
        case State::name:
            name_ += text;
            break;
        case State::tag:
            tag_ += text;
            break;
        case State::value:
            value_ += text;
            break;
        case State::between:
            return is_blank ? Status::more : Status::failed;
        case State::after_value:
            if (is_blank) {
                gap_ += text;
                break;
            }
            value_ += syntax_.parameter_end;
            value_ += std::exchange(gap_, {});
            value_ += text;
            state_ = State::value;
            break;
    }
    return Status::more;
}

CallReader::Status XmlCallReader::end_parameter(State next) {
    const bool added = syntax_.add_parameter(arguments_, schema_, trimmed(name_), tag_, value_);
    tag_.clear();
    value_.clear();
    gap_.clear();
    state_ = next;
    return added ? Status::more : Status::failed;
}

CallReader::Status XmlCallReader::end_call() {
    const std::string_view name = trimmed(name_);
    if (name.empty()) return Status::failed;
    calls_.assign(1, {"", std::string(name), arguments_.text()});
    return Status::done;
}

}  // namespace greenroom::text
