#include "runtime/text/output/marker_scanner.h"

#include <algorithm>

namespace greenroom::text {
namespace {

struct Match {
    std::size_t marker = MarkerScanner::kNone;  // that stands here
    bool possible = false;                      // the text ends before it is known whether one does
};

Match match_at(std::string_view here, std::span<const std::string_view> markers) {
    Match match;
    for (std::size_t i = 0; i < markers.size(); ++i) {
        if (markers[i].front() != here.front()) continue;
        if (here.starts_with(markers[i])) return {i, true};
        match.possible = match.possible || markers[i].starts_with(here);
    }
    return match;
}

}  // namespace

void MarkerScanner::push(std::string_view text) {
    // While nothing is held, what remains is short: the beginning of a marker.
    const std::size_t n_done = holds_ ? hold_ : at_;
    buffer_.erase(0, n_done);
    at_ -= n_done;
    hold_ = 0;
    buffer_ += text;
}

MarkerScanner::Piece MarkerScanner::next(std::span<const std::string_view> markers) {
    const std::string_view rest = std::string_view(buffer_).substr(at_);
    const std::size_t n_most = std::min(rest.size(), room());
    std::size_t n_text = markers.empty() ? n_most : 0;
    for (; n_text < n_most; ++n_text) {
        const Match match = match_at(rest.substr(n_text), markers);
        if (match.marker != kNone && n_text == 0) {
            const std::size_t size = markers[match.marker].size();
            at_ += size;
            return {rest.substr(0, size), match.marker};
        }
        if (match.marker != kNone || (match.possible && !finished_)) break;
    }
    at_ += n_text;
    return {rest.substr(0, n_text), kNone};
}

void MarkerScanner::hold(std::size_t n_bytes) noexcept {
    holds_ = true;
    hold_ = at_ - n_bytes;
}

std::string_view MarkerScanner::held() const noexcept {
    return holds_ ? std::string_view(buffer_).substr(hold_, at_ - hold_) : std::string_view();
}

std::size_t MarkerScanner::room() const noexcept {
    if (!holds_) return std::string_view::npos;
    return kMostHeldBytes - std::min(kMostHeldBytes, at_ - hold_);
}

}  // namespace greenroom::text
