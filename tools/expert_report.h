#pragma once

// What became of the experts: how many are in memory, hits and misses, reads and waits, what was read ahead;
// and what the GPU had of it.

#include "runtime/engine.h"

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace greenroom::tools {

// Some lines, and one for each MoE layer. Of a model without routed experts: a line that says so.
std::string expert_report_text(const runtime::Engine& engine);

// The same: {"budget": {…}, "experts": {…}, "reader": {…}, "layers": [{…}]}, and "gpu": {…} where there is
// one; sizes in bytes, times in µs.
nlohmann::ordered_json expert_report_json(const runtime::Engine& engine);

}  // namespace greenroom::tools
