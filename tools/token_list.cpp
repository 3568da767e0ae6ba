#include "tools/token_list.h"

#include "quant/base/error.h"
#include "tools/options.h"
#include "tools/printable.h"
#include "tools/text_input.h"

#include <charconv>
#include <optional>
#include <string_view>

namespace greenroom::tools {
namespace {

constexpr std::string_view kSeparators = ", \t\r\n";

// The ids in `text`; `rejected` is set to the first thing that is none.
std::vector<text::TokenId> read_ids(std::string_view text, std::string& rejected) {
    std::vector<text::TokenId> ids;
    while (true) {
        const std::size_t start = text.find_first_not_of(kSeparators);
        if (start == std::string_view::npos) return ids;
        const std::string_view word = text.substr(start, text.find_first_of(kSeparators, start) - start);
        text::TokenId id = 0;
        const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
        if (error != std::errc{} || end != word.data() + word.size() || id < 0) {
            rejected = printable(word, 40);
            return ids;
        }
        ids.push_back(id);
        text.remove_prefix(start + word.size());
    }
}

}  // namespace

std::vector<text::TokenId> parse_token_list(const std::string& flag, const std::string& value) {
    const bool from_file = value.starts_with('@');
    const std::string path = from_file ? value.substr(1) : "";
    std::string rejected;
    std::vector<text::TokenId> ids = read_ids(from_file ? read_text_file(path) : value, rejected);
    if (rejected.empty() && !ids.empty()) return ids;

    const std::string found = rejected.empty() ? "nothing" : fmt::format("'{}'", rejected);
    const std::string message = fmt::format("found {}, expected token ids such as 1,2,3", found);
    if (from_file) fail(ErrorKind::bad_input, "{}: {}", path, message);
    bad_usage(flag, message + " or @FILE");
}

}  // namespace greenroom::tools
