#pragma once

// ThreadOptions: the CPU threads that an engine computes with.

#include "cpu/parallel.h"

namespace greenroom::runtime {

struct ThreadOptions {
    // Implicit, since a number is all that most callers say.
    ThreadOptions(int n = 0) : n_threads(n) {}

    int n_threads;            // for batches of one token; 0: cpu::default_thread_count()
    int n_threads_batch = 0;  // for those of more (prefill); 0: as many
    cpu::Placement placement = cpu::Placement::anywhere;
};

}  // namespace greenroom::runtime
