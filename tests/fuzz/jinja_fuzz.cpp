// libFuzzer target: any text at all is either a template, whose rendering ends within its limits, or refused
// with an Error. What follows a NUL byte are the template's variables, as JSON; without one there are those
// of a conversation. Run it with `tools/dev fuzz`; jinja_corpus_test.cpp replays the seeds in every build.

#include "tests/fuzz/jinja_fuzz.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/json.h"
#include "runtime/text/jinja/template.h"
#include "runtime/text/utf8.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace greenroom::text::jinja {
namespace {

constexpr std::string_view kConversation = R"({
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": " Wie spät ist es in Zürich?\n"}, {"type": "image"}]},
        {"role": "assistant", "content": null, "reasoning_content": "<think>2 + 2", "tool_calls": [
            {"id": "call_0", "type": "function",
             "function": {"name": "get_time", "arguments": {"tz": "Europe/Zurich", "n": [1, 2.5, true, null]}}},
            {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{\"tz\": 1e400}"}}]},
        {"role": "tool", "tool_call_id": "call_0", "name": "get_time", "content": "14:07 世界 😀"},
        {"role": "assistant", "content": "It is</think> 14:07."},
        {"role": "user", "content": ""}],
    "tools": [{"type": "function", "function": {"name": "get_time", "description": "The time", "parameters": {
        "type": "object", "properties": {"tz": {"type": ["string", "null"], "enum": ["a", "b"], "default": 1.0}},
        "required": ["tz"]}}}],
    "documents": null, "add_generation_prompt": true, "enable_thinking": false, "reasoning_effort": "high",
    "bos_token": "<s>", "eos_token": "</s>",
    "e": [], "d": {"a": 1, "b": [1, 2], "items": 3}, "n": 9223372036854775807, "big": 123456789012345678901234567890,
    "f": -0.5, "s": "Straße ŉ ΑΣ\t\r\n\u2028", "t": [3, 1, 2, 2.0, "x"]
})";

Value variables_of(std::string_view json) {
    static const Value kVariables = parse_json(kConversation);
    return json.empty() ? kVariables : parse_json(json);
}

// Small enough for many a second, large enough for what the vendors' templates do.
RenderOptions small_limits() {
    RenderOptions options;
    options.limits.steps = 30'000;
    options.limits.live_bytes = 4 << 20;
    options.limits.text_bytes = 1 << 20;
    return options;
}

}  // namespace

std::string render_fuzz_input(std::string_view input) {
    const std::string_view source = input.substr(0, input.find('\0'));
    const std::string_view json = input.substr(std::min(source.size() + 1, input.size()));
    const Value variables = variables_of(json);
    return Template(source, "fuzz").render(variables, small_limits());
}

}  // namespace greenroom::text::jinja

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using greenroom::ErrorKind;
    using greenroom::text::is_utf8;
    try {
        const std::string_view input(reinterpret_cast<const char*>(data), size);
        if (!is_utf8(greenroom::text::jinja::render_fuzz_input(input))) __builtin_trap();
    } catch (const greenroom::Error& error) {
        // Hostile text is bad or unsupported input; never a defect of ours or the system's fault.
        const bool refused = error.kind() == ErrorKind::bad_input || error.kind() == ErrorKind::unsupported;
        if (!refused || !is_utf8(error.what())) __builtin_trap();
    }
    return 0;
}
