// Stop texts in a text that comes in pieces: found wherever the cuts are, and nothing of them shown before.

#include "runtime/stop_matcher.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace greenroom::runtime {
namespace {

struct Shown {
    std::string text;
    bool matched;

    bool operator==(const Shown&) const = default;
};

void PrintTo(const Shown& shown, std::ostream* out) { *out << '"' << shown.text << "\", " << shown.matched; }

Shown show(const std::vector<std::string>& stops, const std::vector<std::string_view>& pieces) {
    StopMatcher matcher(stops);
    std::string text;
    for (const std::string_view piece : pieces) {
        text += matcher.push(piece);
        if (matcher.matched()) return {text, true};
    }
    return {text + matcher.finish(), false};
}

TEST(StopMatcher, TextWithoutStopsPassesAtOnce) {
    StopMatcher matcher({});
    EXPECT_EQ(matcher.push("any text"), "any text");
    EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, StopIsFoundWhereverTheCutIs) {
    const std::string text = "one END two";
    for (std::size_t first = 0; first <= text.size(); ++first)
        for (std::size_t second = first; second <= text.size(); ++second) {
            const std::string_view all = text;
            EXPECT_EQ(
                show({"END"}, {all.substr(0, first), all.substr(first, second - first), all.substr(second)}),
                (Shown{"one ", true}))
                << first << ", " << second;
        }
}

TEST(StopMatcher, HoldsBackOnlyWhatMayBecomeAStop) {
    StopMatcher matcher({"\n\n", "User:"});
    EXPECT_EQ(matcher.push("Hello\n"), "Hello");
    EXPECT_EQ(matcher.push("Us"), "\n");
    EXPECT_EQ(matcher.push("eful"), "Useful");
    EXPECT_EQ(matcher.push(" U"), " ");
    EXPECT_EQ(matcher.finish(), "U");
}

TEST(StopMatcher, RepeatedBeginningsAreFollowed) {
    EXPECT_EQ(show({"aab"}, {"a", "a", "a", "b"}), (Shown{"a", true}));
    EXPECT_EQ(show({"abab"}, {"aba", "c", "aba", "b"}), (Shown{"abac", true}));
}

TEST(StopMatcher, EarliestOfSeveralStopsEndsTheText) {
    EXPECT_EQ(show({"two", "one"}, {"zero one two"}), (Shown{"zero ", true}));
    EXPECT_EQ(show({"abc", "ab"}, {"xabc"}), (Shown{"x", true}));
}

// "abX" could still come, but "b" stands there already.
TEST(StopMatcher, CompleteStopDoesNotWaitForALongerOne) {
    EXPECT_EQ(show({"abX", "b"}, {"a", "b"}), (Shown{"a", true}));
}

TEST(StopMatcher, StopsThatCannotOccurAreIgnored) {
    EXPECT_EQ(show({"", "\xA4"}, {"ä€", "b"}), (Shown{"ä€b", false}));
}

TEST(StopMatcher, CharactersStayWhole) {
    StopMatcher matcher({"é!"});
    EXPECT_EQ(matcher.push("caf\xC3\xA9"), "caf");
    EXPECT_EQ(matcher.push("?"), "\xC3\xA9?");
}

}  // namespace
}  // namespace greenroom::runtime
