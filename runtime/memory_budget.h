#pragma once

// MemoryBudget: how the memory that the process may use is shared out. What every token needs comes first,
// then the sessions, and the experts get the rest: up to all of them, at least what one layer's turn takes.

#include <algorithm>
#include <cstdint>
#include <string>

namespace greenroom::runtime {

// Bytes.
struct MemoryNeeds {
    std::int64_t program = 0;   // what the process holds already, and what it will need besides
    std::int64_t staging = 0;   // while weights are on their way to a GPU, before the rest is taken
    std::int64_t resident = 0;  // weights that every token needs
    std::int64_t sessions = 0;
    std::int64_t least_experts = 0;
    std::int64_t most_experts = 0;

    std::int64_t least() const noexcept {
        return program + std::max(staging, resident + sessions + least_experts);
    }
};

struct MemoryBudget {
    std::int64_t total = 0;
    std::int64_t experts = 0;   // of it, for their slots
    std::int64_t sessions = 0;  // of it, for all sessions: what nobody else needs
};

// ram_bytes: the budget asked for (--ram), 0: what is available less a reserve for others. available_bytes:
// what the process could still take, besides needs.program. Error{out_of_memory} when the budget is less than
// the least (names the parts, and what would do) or more than there is.
MemoryBudget share_out_memory(const std::string& path, const MemoryNeeds& needs, std::int64_t ram_bytes,
                              std::int64_t available_bytes);

// What the process has in RAM now. 0 where the system does not say.
std::int64_t resident_set_bytes();

// The most that it has had. 0 where the system does not say.
std::int64_t peak_resident_set_bytes();

}  // namespace greenroom::runtime
