#include "runtime/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace greenroom::runtime {
namespace {

bool begins_character(char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }

}  // namespace

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
    // Text that starts within a character does not occur in whole characters, and could only split one.
    std::erase_if(stops_,
                  [](const std::string& stop) { return stop.empty() || !begins_character(stop.front()); });
}

std::string StopMatcher::push(std::string_view piece) {
    held_ += piece;
    std::size_t cut = held_.size();
    for (const std::string& stop : stops_) cut = std::min(cut, held_.find(stop));
    matched_ = cut < held_.size();
    if (!matched_) cut = first_possible_stop();
    std::string shown = held_.substr(0, cut);
    held_.erase(0, cut);
    return shown;
}

std::size_t StopMatcher::first_possible_stop() const {
    for (std::size_t at = 0; at < held_.size(); ++at) {
        const std::string_view rest = std::string_view(held_).substr(at);
        const auto begins_with_rest = [rest](const std::string& stop) { return stop.starts_with(rest); };
        if (std::any_of(stops_.begin(), stops_.end(), begins_with_rest)) return at;
    }
    return held_.size();
}

std::string StopMatcher::finish() { return std::exchange(held_, {}); }

}  // namespace greenroom::runtime
