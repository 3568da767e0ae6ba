#pragma once

// Calls that need no marker at their end: the value itself shows where it ends.
//
// JsonArrayCallReader: a JSON array of calls (Mistral's [TOOL_CALLS]).
// JsonOrPythonCallReader: a JSON object that is a call, or a Python list of calls (Llama 4). Only names that
// the schema allows are calls: an answer may be JSON, too.

#include "runtime/text/output/call_reader.h"
#include "runtime/text/output/json_scanner.h"
#include "runtime/text/output/python_literal.h"

#include <string>

namespace greenroom::text {

class JsonArrayCallReader : public CallReader {
  public:
    void begin() override;
    Status read(MarkerScanner& scanner) override;
    Status finish() override { return Status::failed; }

  private:
    Status end();

    JsonScanner json_;
    std::string text_;
};

class JsonOrPythonCallReader : public CallReader {
  public:
    explicit JsonOrPythonCallReader(const ToolSchema& schema) : schema_(schema) {}

    void begin() override;
    Status read(MarkerScanner& scanner) override;
    Status finish() override { return Status::failed; }

  private:
    Status end();

    const ToolSchema& schema_;
    JsonScanner json_;
    PythonCallsScanner python_;
    char bracket_ = '\0';  // that the value begins with; '\0' before it came
    std::string text_;
};

}  // namespace greenroom::text
