#pragma once

// read_all(): copies large parts of files, such as all weights that stay in memory, at the full speed of a
// Mover.

#include "cache/mover.h"
#include "quant/base/log.h"

#include <atomic>
#include <cstdint>
#include <span>
#include <string_view>

namespace greenroom::cache {

struct BulkOptions {
    std::int64_t chunk_bytes =
        16 << 20;                   // requests are at most this large: how finely progress and stop() work
    int max_requests = 8;           // under way at a time
    std::int64_t alignment = 4096;  // the reader's: chunks begin at multiples of it in the file
};

enum class BulkOutcome {
    done,
    stopped,  // *stop was set
};

// Copies everything, in this order, with demanded priority, and returns when all of it is there, or, where
// `stop` (may be null) has become true or a copy has failed, when nothing is written any more. Error: the
// first failure's. progress (may be empty) is called on this thread with `what` and bytes. Nobody else may
// use the mover meanwhile: completions of others would be lost.
BulkOutcome read_all(Mover& mover, std::span<const Copy> copies, std::string_view what,
                     const ProgressFn& progress, const std::atomic<bool>* stop,
                     const BulkOptions& options = {});

}  // namespace greenroom::cache
