#pragma once

// OutputFormat: how a family of models marks reasoning and calls of functions in what it writes. The chat
// template tells which: it writes earlier answers back in the same form.

#include <cstdint>
#include <string_view>

namespace greenroom::text {

enum class OutputFormat : std::uint8_t {
    plain,     // <think>, no calls
    instruct,  // the same after [/INST] (Mixtral, Llama 2): begins with a space that belongs to the prompt
    mistral,   // [TOOL_CALLS] [{"name": …, "arguments": {…}}]
    kimi_k2,   // <|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{…}<|tool_call_end|>
    deepseek_v3,  // <｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\n{…}\n```<｜tool▁call▁end｜>; R1
                  // too
    deepseek_v3_1,  // <｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{…}<｜tool▁call▁end｜>
    deepseek_v3_2,  // <｜DSML｜invoke name="NAME"><｜DSML｜parameter name="city" string="true">…
    hermes,         // <tool_call>{"name": …, "arguments": {…}}</tool_call>: Qwen3 and many others
    qwen3_coder,    // <tool_call><function=NAME><parameter=city>…: Qwen3-Coder, Qwen3.5
    harmony,        // gpt-oss: <|channel|>analysis<|message|>…<|end|>, calls to=functions.NAME
    llama4,  // {"name": …, "parameters": {…}} or [NAME(city="…")], perhaps between <|python_start|> tags
};

// `plain` for a template that shows none of the forms, also for an empty one.
OutputFormat detect_output_format(std::string_view chat_template);

}  // namespace greenroom::text
