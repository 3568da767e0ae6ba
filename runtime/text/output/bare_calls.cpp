#include "runtime/text/output/bare_calls.h"

#include "runtime/text/output/json_text.h"
#include "runtime/text/output/tagged_json_calls.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace greenroom::text {
namespace {

// Lets `value` (a scanner of values) take from the scanner until the value ends; what it took is appended to
// `text`.
template <class ValueScanner>
CallReader::Status read_value(MarkerScanner& scanner, ValueScanner& value, std::string& text) {
    while (!value.complete()) {
        const MarkerScanner::Piece piece = scanner.next({});
        if (piece.empty()) return scanner.full() ? CallReader::Status::failed : CallReader::Status::more;
        const std::size_t n_taken = value.push(piece.text);
        text += piece.text.substr(0, n_taken);
        scanner.put_back(piece.text.size() - n_taken);
        if (value.invalid()) return CallReader::Status::failed;
    }
    return CallReader::Status::done;
}

}  // namespace

void JsonArrayCallReader::begin() {
    json_ = {};
    text_.clear();
}

CallReader::Status JsonArrayCallReader::read(MarkerScanner& scanner) {
    const Status status = read_value(scanner, json_, text_);
    return status == Status::done ? end() : status;
}

CallReader::Status JsonArrayCallReader::end() {
    calls_.clear();
    const auto items = json_items(text_);
    if (!items || items->empty()) return Status::failed;
    for (const std::string_view item : *items) {
        std::optional<ToolCall> call = call_from_json(item);
        if (!call) return Status::failed;
        calls_.push_back(std::move(*call));
    }
    return Status::done;
}

void JsonOrPythonCallReader::begin() {
    json_ = {};
    python_ = {};
    bracket_ = '\0';
    text_.clear();
}

CallReader::Status JsonOrPythonCallReader::read(MarkerScanner& scanner) {
    if (bracket_ == '\0') {
        const MarkerScanner::Piece piece = scanner.next({});
        if (piece.empty()) return Status::more;
        bracket_ = piece.text.front();
        scanner.put_back(piece.text.size());
    }
    const Status status =
        bracket_ == '[' ? read_value(scanner, python_, text_) : read_value(scanner, json_, text_);
    return status == Status::done ? end() : status;
}

CallReader::Status JsonOrPythonCallReader::end() {
    calls_.clear();
    if (bracket_ == '[') {
        if (auto calls = parse_python_calls(text_)) calls_ = std::move(*calls);
    } else if (std::optional<ToolCall> call = call_from_json(text_)) {
        calls_.push_back(std::move(*call));
    }
    const auto is_allowed = [this](const ToolCall& call) { return schema_.allows(call.name); };
    return !calls_.empty() && std::all_of(calls_.begin(), calls_.end(), is_allowed) ? Status::done
                                                                                    : Status::failed;
}

}  // namespace greenroom::text
