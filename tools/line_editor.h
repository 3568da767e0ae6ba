#pragma once

// The line editor behind LineSource, for a standard input that is a terminal.

#include "tools/line_source.h"

#include <memory>
#include <string>

namespace greenroom::tools {

std::unique_ptr<LineSource> make_line_editor(const std::string& history_path);

}  // namespace greenroom::tools
