#pragma once

// What `greenroom bench` prints: a line or an object for each test, as soon as it is done.

#include "runtime/engine.h"
#include "runtime/model_inventory.h"
#include "runtime/session.h"
#include "tools/flag_lists.h"
#include "tools/measure_speed.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace greenroom::tools {

// A test that is done, and what it was done with; looked at only while it is reported.
struct BenchResult {
    const runtime::Engine& engine;
    const runtime::ModelInventory& model;
    const runtime::Session& session;
    const runtime::SessionOptions& options;  // of the session
    const std::vector<GivenFlag>& given;     // columns of the table
    const SpeedTest& test;
    Warmup warmup;
    const SpeedResult& speed;
};

// Mean and standard deviation of a sample; the latter is 0 for less than two values.
struct Spread {
    double mean = 0;
    double deviation = 0;
};
Spread spread_of(const std::vector<double>& values);

// Whether this program is one that finds mistakes rather than one that is fast.
bool build_has_assertions() noexcept;

// Everything that is known about a test, and all it takes to repeat it; sizes in bytes.
nlohmann::ordered_json as_json(const BenchResult& result);

enum class BenchFormat { md, csv, json, jsonl };

// Writes to standard output; nothing before the first result.
class BenchReport {
  public:
    explicit BenchReport(BenchFormat format) : format_(format) {}

    // Error as write_output().
    void add(const BenchResult& result);

    // Nothing comes any more.
    void end();

  private:
    struct Column {
        std::string title;
        std::string value;
        std::size_t width;
        bool is_text;  // to the left
    };

    std::vector<Column> columns_of(const BenchResult& result) const;
    std::string table_text(const BenchResult& result) const;

    BenchFormat format_;
    bool shows_hits_ = false;       // in the table; from the first result on
    bool shows_vram_hits_ = false;  // likewise
    bool is_begun_ = false;
};

}  // namespace greenroom::tools
