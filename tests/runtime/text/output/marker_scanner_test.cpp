// Text and markers, told apart whatever the cuts; what may become a marker is held back, and no more.

#include "runtime/text/output/marker_scanner.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>

namespace greenroom::text {
namespace {

constexpr std::array<std::string_view, 3> kMarkers = {"<think>", "<|end|>", "</think>"};

// Texts as they are, markers in brackets.
std::string read_all(MarkerScanner& scanner) {
    std::string read;
    for (MarkerScanner::Piece piece = scanner.next(kMarkers); !piece.empty(); piece = scanner.next(kMarkers))
        read += piece.is_marker() ? "[" + std::string(kMarkers[piece.marker]) + "]" : std::string(piece.text);
    return read;
}

TEST(MarkerScanner, FindsMarkersWhereverTheCutIs) {
    const std::string text = "a <b<think>c</think<</think>d<|en<|end|><|end|";
    const std::string expected = "a <b[<think>]c</think<[</think>]d<|en[<|end|>]<|end|";
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        MarkerScanner scanner;
        scanner.push(text.substr(0, cut));
        std::string read = read_all(scanner);
        scanner.push(text.substr(cut));
        read += read_all(scanner);
        scanner.finish();
        EXPECT_EQ(read + read_all(scanner), expected) << cut;
    }
}

TEST(MarkerScanner, HoldsBackOnlyWhatMayBecomeAMarker) {
    MarkerScanner scanner;
    scanner.push("1 < 2 <");
    EXPECT_EQ(read_all(scanner), "1 < 2 ");
    scanner.push("th");
    EXPECT_EQ(read_all(scanner), "");
    scanner.push("e");
    EXPECT_EQ(read_all(scanner), "<the");
}

TEST(MarkerScanner, KeepsWhatIsTakenWhileItHolds) {
    MarkerScanner scanner;
    scanner.push("a<think>b");
    EXPECT_EQ(scanner.next(kMarkers).text, "a");
    scanner.hold(scanner.next(kMarkers).text.size());
    EXPECT_EQ(read_all(scanner), "b");
    scanner.push("c");
    scanner.push("d");
    EXPECT_EQ(scanner.next({}).text, "cd");
    EXPECT_EQ(scanner.held(), "<think>bcd");
    scanner.put_back(1);
    EXPECT_EQ(scanner.held(), "<think>bc");
    scanner.release();
    EXPECT_EQ(scanner.held(), "");
    EXPECT_EQ(read_all(scanner), "d");
}

TEST(MarkerScanner, HoldsNoMoreThanItsMost) {
    MarkerScanner scanner;
    scanner.hold();
    scanner.push(std::string(MarkerScanner::kMostHeldBytes + 10, 'x'));
    EXPECT_EQ(scanner.next(kMarkers).text.size(), MarkerScanner::kMostHeldBytes);
    EXPECT_TRUE(scanner.full());
    EXPECT_TRUE(scanner.next(kMarkers).empty());
    scanner.release();
    EXPECT_EQ(scanner.next(kMarkers).text, "xxxxxxxxxx");
}

}  // namespace
}  // namespace greenroom::text
