#include "runtime/text/output/output_format.h"

namespace greenroom::text {

OutputFormat detect_output_format(std::string_view chat_template) {
    const auto has = [chat_template](std::string_view marker) {
        return chat_template.find(marker) != std::string_view::npos;
    };
    if (has("<|channel|>") && has("<|message|>")) return OutputFormat::harmony;
    if (has("<|tool_calls_section_begin|>")) return OutputFormat::kimi_k2;
    if (has("｜DSML｜")) return OutputFormat::deepseek_v3_2;
    if (has("<｜tool▁calls▁begin｜>"))
        return has("```json") ? OutputFormat::deepseek_v3 : OutputFormat::deepseek_v3_1;
    if (has("<function=") && has("<parameter=")) return OutputFormat::qwen3_coder;
    // GLM-4.5 uses the same tag around a form of its own, which is not known here.
    if (has("<tool_call>") && !has("<arg_key>")) return OutputFormat::hermes;
    if (has("<|python_start|>")) return OutputFormat::llama4;
    if (has("[TOOL_CALLS]")) return OutputFormat::mistral;
    if (has("[/INST]")) return OutputFormat::instruct;
    return OutputFormat::plain;
}

}  // namespace greenroom::text
