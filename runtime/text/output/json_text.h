#pragma once

// JSON as text: taken apart and put together without parsing values, so that their spelling (1.0, big
// integers, the order of keys) stays what the model wrote. Functions of their arguments; any thread.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace greenroom::text {

// Without whitespace (space, \t, \n, \r) at both ends.
std::string_view trimmed(std::string_view text) noexcept;

// All of the text is one JSON value.
bool is_json(std::string_view text);
bool is_json_object(std::string_view text);

struct JsonMember {
    std::string key;         // decoded
    std::string_view value;  // as it stands in the text
};

// The members of an object, or nothing when the text is no object or a key cannot be decoded.
std::optional<std::vector<JsonMember>> json_members(std::string_view object);

// The items of an array, as they stand in the text, or nothing.
std::optional<std::vector<std::string_view>> json_items(std::string_view array);

// What a JSON string says; nothing when it is none, or no Unicode text (half a surrogate pair).
std::optional<std::string> json_string_value(std::string_view text);

// The text as a JSON string. Bytes that are no UTF-8 become U+FFFD; characters beyond ASCII are not escaped.
std::string json_quoted(std::string_view text);

// An object that grows: {"a": 1, "b": "x"}. A key that comes again replaces the value of the first.
class JsonObjectWriter {
  public:
    void add(std::string_view key, std::string value_json);
    std::string text() const;

  private:
    std::vector<std::pair<std::string, std::string>> members_;  // key and value as JSON
    std::unordered_map<std::string, std::size_t> index_;        // of a member, by its decoded key
};

}  // namespace greenroom::text
