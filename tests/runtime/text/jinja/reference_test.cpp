// What templates give, compared with what jinja2 gives in the environment of Hugging Face transformers.

#include "quant/base/error.h"
#include "runtime/text/jinja/template.h"
#include "tests/runtime/text/jinja/chat_cases.h"

#include <gtest/gtest.h>

#include <string>

namespace greenroom::text::jinja {
namespace {

struct Outcome {
    std::string text;
    bool failed = false;  // then the text is the message
};

Outcome render(const test::ChatCase& one, const DateTime& now) {
    try {
        RenderOptions options;
        options.now = now;
        return {Template(one.source, "t").render(one.context, options), false};
    } catch (const Error& error) {
        return {error.what(), true};
    }
}

void expect_reference(const test::ChatCases& reference) {
    for (const test::ChatCase& one : reference.cases) {
        SCOPED_TRACE(one.id.empty() ? one.source : one.id);
        const Outcome found = render(one, reference.now);
        EXPECT_EQ(found.failed, !one.expected) << found.text;
        if (one.expected) {
            EXPECT_EQ(found.text, *one.expected);
        }
        // Python's own messages differ by version; these are the template's.
        static constexpr std::string_view kRaised = "TemplateError: ";
        if (one.error.starts_with(kRaised)) {
            EXPECT_TRUE(found.text.ends_with(one.error.substr(kRaised.size()))) << found.text;
        }
    }
}

class ReferenceTemplate : public testing::TestWithParam<const char*> {};

TEST_P(ReferenceTemplate, RendersAsTransformersDoes) {
    const test::ChatCases reference = test::load_chat_cases(GetParam());
    EXPECT_EQ(reference.cases.size(), 37U);
    expect_reference(reference);
}

INSTANTIATE_TEST_SUITE_P(Vendors, ReferenceTemplate, testing::ValuesIn(test::kChatTemplates),
                         test::parameter_name);

TEST(ReferenceFeatures, EachDoesWhatItDoesInJinja2) {
    const test::ChatCases reference = test::load_unit_cases();
    EXPECT_EQ(reference.cases.size(), 155U);
    expect_reference(reference);
}

TEST(ReferenceFeatures, ThousandsOfExpressionsGiveWhatPythonGives) {
    const test::ChatCases reference = test::load_python_cases();
    EXPECT_GE(reference.cases.size(), 10000U);
    expect_reference(reference);
}

}  // namespace
}  // namespace greenroom::text::jinja
