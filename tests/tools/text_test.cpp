// Texts on their way in and out: escapes in flags, text for terminals, figures for people, lists of ids.

#include "tests/support/errors.h"
#include "tests/support/paths.h"
#include "tools/options.h"
#include "tools/printable.h"
#include "tools/text_input.h"
#include "tools/token_list.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

namespace greenroom::tools {
namespace {

TEST(Unescape, ReadsTheEscapesOfLlamaCpp) {
    EXPECT_EQ(unescape("a\\nb\\tc\\rd\\\\e\\'f\\\"g"), "a\nb\tc\rd\\e'f\"g");
    EXPECT_EQ(unescape("\\x41\\xe2\\x82\\xAC"), "A€");
    EXPECT_EQ(unescape(std::string("\\x00", 4)), std::string(1, '\0'));
}

TEST(Unescape, LeavesOtherBackslashesAlone) {
    for (const char* text : {"\\", "a\\", "\\d+", "\\x", "\\x4", "\\xg1", "\\x-1", "\\u0041", ""})
        EXPECT_EQ(unescape(text), text);
    EXPECT_EQ(unescape("\\\\n"), "\\n");
}

TEST(Printable, EscapesWhatATerminalCouldObey) {
    EXPECT_EQ(printable("plain ä€🌍"), "plain ä€🌍");
    EXPECT_EQ(printable("\x1b[31m\r\n\t\x7f"), "\\x1b[31m\\r\\n\\t\\x7f");
    EXPECT_EQ(printable("\xC2\x9B"), "\\xc2\\x9b");  // U+009B, a control sequence introducer
    EXPECT_EQ(printable("a\\b"), "a\\\\b");
    EXPECT_EQ(printable("\xE2\x82"), "\\xe2\\x82");
    EXPECT_EQ(printable("\xFFx"), "\\xffx");
}

TEST(Printable, ShortensByCharacters) {
    EXPECT_EQ(printable("äöü", 3), "äöü");
    EXPECT_EQ(printable("äöüß", 3), "äöü…");
    EXPECT_EQ(printable("", 0), "");
}

TEST(Figures, AreScaledToThreeOrFourDigits) {
    EXPECT_EQ(human_bytes(0), "0 B");
    EXPECT_EQ(human_bytes(1023), "1023 B");
    EXPECT_EQ(human_bytes(1024), "1.0 KiB");
    EXPECT_EQ(human_bytes(13519936), "12.9 MiB");
    EXPECT_EQ(human_bytes(std::numeric_limits<std::int64_t>::max()), "8192.0 PiB");
    EXPECT_EQ(human_count(999), "999");
    EXPECT_EQ(human_count(20'300'000), "20.3 M");
    EXPECT_EQ(human_count(671'026'419'200), "671.0 B");
    EXPECT_EQ(human_count(999'999), "1.0 M");
}

TEST(Figures, AreCountedInSingularAndPlural) {
    EXPECT_EQ(counted(0, "thread"), "0 threads");
    EXPECT_EQ(counted(1, "thread"), "1 thread");
    EXPECT_EQ(counted(2, "thread"), "2 threads");
}

TEST(TextFile, LargerThanAnyTextIsRefusedUnread) {
    const test::TempDir folder;
    const std::string path = folder.file("large.txt");
    std::ofstream(path) << "text";
    std::filesystem::resize_file(path, kMostTextBytes + 1);
    test::expect_error(ErrorKind::bad_input, {path, "1024 MiB", "expected a text"},
                       [&] { read_text_file(path); });
}

TEST(TokenList, TakesCommasAndBlanks) {
    EXPECT_EQ(parse_token_list("--ids", "1,2, 3\n4"), (std::vector<text::TokenId>{1, 2, 3, 4}));
    const test::TempDir folder;
    std::ofstream(folder.file("ids")) << "7\n8,9,\n";
    EXPECT_EQ(parse_token_list("--ids", "@" + folder.file("ids")), (std::vector<text::TokenId>{7, 8, 9}));
}

TEST(TokenList, RefusesWhatIsNoId) {
    for (const char* text : {"", " , ", "x", "1;2", "-1", "1.5", "2147483648", "0x10"})
        EXPECT_THROW(parse_token_list("--ids", text), CLI::ParseError) << text;
    const test::TempDir folder;
    std::ofstream(folder.file("ids")) << "1 two";
    test::expect_error(ErrorKind::bad_input, {"ids", "'two'"},
                       [&] { parse_token_list("--ids", "@" + folder.file("ids")); });
    test::expect_error(ErrorKind::io, {"none"},
                       [&] { parse_token_list("--ids", "@" + folder.file("none")); });
}

runtime::SamplerOptions parse_sampling(const std::vector<std::string>& flags) {
    CLI::App app;
    runtime::SamplerOptions options;
    add_sampling_options(app, options);
    std::vector<std::string> reversed(flags.rbegin(), flags.rend());
    app.parse(reversed);
    return options;
}

TEST(SamplingOptions, AreThoseOfLlamaCpp) {
    const auto options = parse_sampling({"--temp",
                                         "0.5",
                                         "--top-k",
                                         "10",
                                         "--top-p",
                                         "0.9",
                                         "--min-p",
                                         "0.1",
                                         "-s",
                                         "3",
                                         "--repeat-last-n",
                                         "-1",
                                         "--repeat-penalty",
                                         "1.1",
                                         "--presence-penalty",
                                         "-0.5",
                                         "--frequency-penalty",
                                         "+0.25",
                                         "-l",
                                         "5+1.5",
                                         "--logit-bias",
                                         "2-inf"});
    EXPECT_EQ(options.temperature, 0.5F);
    EXPECT_EQ(options.top_k, 10);
    EXPECT_EQ(options.top_p, 0.9F);
    EXPECT_EQ(options.min_p, 0.1F);
    EXPECT_EQ(options.seed, 3U);
    EXPECT_EQ(options.penalty_last_n, -1);
    EXPECT_EQ(options.repeat_penalty, 1.1F);
    EXPECT_EQ(options.presence_penalty, -0.5F);
    EXPECT_EQ(options.frequency_penalty, 0.25F);
    ASSERT_EQ(options.logit_bias.size(), 2U);
    EXPECT_EQ(options.logit_bias[0].token, 5);
    EXPECT_EQ(options.logit_bias[0].bias, 1.5F);
    EXPECT_EQ(options.logit_bias[1].token, 2);
    EXPECT_EQ(options.logit_bias[1].bias, -std::numeric_limits<float>::infinity());
}

TEST(SamplingOptions, SeedOfMinusOneIsRandom) {
    EXPECT_FALSE(parse_sampling({}).seed.has_value());
    EXPECT_FALSE(parse_sampling({"--seed", "-1"}).seed.has_value());
    EXPECT_EQ(parse_sampling({"--seed", "18446744073709551615"}).seed,
              std::numeric_limits<std::uint64_t>::max());
}

}  // namespace
}  // namespace greenroom::tools
