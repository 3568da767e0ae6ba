// The format that a chat template shows.

#include "runtime/text/output/output_format.h"

#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace greenroom::text {
namespace {

TEST(OutputFormat, ShowsInTheMarkersOfTheTemplate) {
    const std::vector<std::pair<std::string, OutputFormat>> cases = {
        {"", OutputFormat::plain},
        {"{{ '<|im_start|>' + message.role }}", OutputFormat::plain},
        {"[INST] {{ message.content }} [/INST]", OutputFormat::instruct},
        {"[INST] [/INST] [TOOL_CALLS]", OutputFormat::mistral},
        {"<|tool_calls_section_begin|>", OutputFormat::kimi_k2},
        {"<｜tool▁calls▁begin｜>function<｜tool▁sep｜>' + name + '\\n```json", OutputFormat::deepseek_v3},
        {"<｜tool▁calls▁begin｜>' + name + '<｜tool▁sep｜>", OutputFormat::deepseek_v3_1},
        {"set dsml_token = '｜DSML｜'", OutputFormat::deepseek_v3_2},
        {"<tool_call>\\n{\"name\": ", OutputFormat::hermes},
        {"<tool_call>\\n<function=' + name + '>\\n<parameter=", OutputFormat::qwen3_coder},
        {"<tool_call>' + name + '\\n<arg_key>", OutputFormat::plain},
        {"<|start|>assistant<|channel|>final<|message|>", OutputFormat::harmony},
        {"<|python_start|>", OutputFormat::llama4},
    };
    for (const auto& [chat_template, format] : cases)
        EXPECT_EQ(detect_output_format(chat_template), format) << chat_template;
}

TEST(OutputFormat, OfTheTemplatesThatModelsComeWith) {
    const std::vector<std::pair<std::string, OutputFormat>> cases = {
        {"kimi-k2", OutputFormat::kimi_k2},
        {"kimi-k2-thinking", OutputFormat::kimi_k2},
        {"kimi-k2.6-reconstructed", OutputFormat::kimi_k2},
        {"deepseek-v3", OutputFormat::deepseek_v3},
        {"deepseek-v3.1", OutputFormat::deepseek_v3_1},
        {"deepseek-v3.2", OutputFormat::deepseek_v3_2},
        {"qwen3", OutputFormat::hermes},
        {"qwen3.5", OutputFormat::qwen3_coder},
        {"qwen3-coder", OutputFormat::qwen3_coder},
        {"gpt-oss", OutputFormat::harmony},
        {"llama4", OutputFormat::llama4},
        {"mixtral-8x7b", OutputFormat::instruct},
    };
    for (const auto& [name, format] : cases) {
        std::ifstream in(test::test_data("chat/" + name + ".jinja"));
        ASSERT_TRUE(in) << name;
        const std::string chat_template{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
        EXPECT_EQ(detect_output_format(chat_template), format) << name;
    }
}

}  // namespace
}  // namespace greenroom::text
