#pragma once

// Python literals as models write them in calls: search(query='a', limit=5, opt={"x": None}), turned into
// JSON text.
//
// Known: strings in single or double quotes with Python's escapes (no prefixes, no triple quotes), numbers
// that are JSON numbers, True, False, None and JSON's names of them, lists, tuples, dicts with string keys.
// Functions of their arguments; any thread.

#include "runtime/text/output/tool_call.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::text {

// All of the text as JSON, with ", " and ": " between; nothing when it is no literal that is known.
std::optional<std::string> python_literal_to_json(std::string_view text);

// [f(a=1), g()]: all of the text as calls with keyword arguments. Nothing for anything else, also for an
// empty list.
std::optional<std::vector<ToolCall>> parse_python_calls(std::string_view list);

// Finds the end of such a list in text that comes in pieces. Refuses at the first byte that shows that the
// list does not begin with a call, and looks at every byte once. Not thread-safe.
class PythonCallsScanner {
  public:
    // Takes text up to the end of the list, if it is in there, and returns how many bytes that were.
    std::size_t push(std::string_view text);

    bool complete() const noexcept { return state_ == State::complete; }
    bool invalid() const noexcept { return state_ == State::invalid; }

  private:
    enum class State : std::uint8_t { bracket, before_name, name, after_name, arguments, complete, invalid };

    void take(char c);
    void take_in_arguments(char c);

    State state_ = State::bracket;
    std::size_t depth_ = 0;  // open brackets of any kind
    char quote_ = '\0';      // of the string that is open
    bool escaped_ = false;   // the next byte, by a backslash
};

}  // namespace greenroom::text
