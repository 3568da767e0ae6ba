#pragma once

// OutputReader: what tells the parts of an output apart, one class per way of marking them. Used by
// OutputParser.

#include "runtime/text/output/output_message.h"

#include <string_view>

namespace greenroom::text {

class OutputReader {
  public:
    virtual ~OutputReader() = default;
    OutputReader() = default;
    OutputReader(const OutputReader&) = delete;
    OutputReader& operator=(const OutputReader&) = delete;

    // Both append what has become known to `out`.
    virtual void push(std::string_view text, OutputMessage& out) = 0;
    virtual void finish(OutputEnd end, OutputMessage& out) = 0;
};

}  // namespace greenroom::text
