#pragma once

// GgufReport: a GGUF file opened as far as its parts are there, with its inventory.

#include "quant/gguf.h"
#include "runtime/kv_layout.h"
#include "runtime/model_inventory.h"

#include <cstdint>
#include <optional>
#include <string>

namespace greenroom::tools {

struct GgufReport {
    quant::Gguf gguf;
    runtime::ModelInventory inventory;
    std::uint64_t part = 1;  // which of gguf.n_parts_expected() this is, when it is opened alone
    runtime::KvTypes kv_types;
    std::optional<runtime::KvLayout> kv_cache;  // with these types and the whole context, where known

    bool is_one_of_several() const noexcept { return gguf.n_parts_expected() > gguf.part_paths().size(); }
};

// Opens all parts of a split model; the named one alone where others are missing or it is not the first.
// Error as Gguf::open(), and {unsupported} where the model's heads are no whole blocks of kv_types.
GgufReport open_report(const std::string& path, const runtime::KvTypes& kv_types = {});

// Everything as one JSON object on several lines. What is no UTF-8 becomes U+FFFD, numbers that JSON lacks
// become null.
std::string as_json(const GgufReport& report);

}  // namespace greenroom::tools
