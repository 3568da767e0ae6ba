#pragma once

// The __shared__ variables of all kernels, which the emulated build makes thread_local: found through the
// program's own symbol table, since a macro can't note where each one lies.

#include <cstddef>
#include <string>
#include <vector>

namespace greenroom::emulation {

struct SharedVariable {
    std::string name;    // mangled
    std::size_t offset;  // in the program's thread-local storage
    std::size_t bytes;
};

// Those that the kernel may use: its own and those of functions that are not kernels. (Functions are taken
// for kernels if their names end in "_kernel"; what another one would cost is time.)
const std::vector<SharedVariable>& shared_variables_of(const void* kernel);

// Sets every byte of these variables, in the calling thread, to 0xff: NaN, or -1.
void fill(const std::vector<SharedVariable>& variables);

// How many there are, in the whole program.
int n_shared_variables();

// The demangled name of a function of this program, "?" if it has none.
std::string function_name(const void* function);

}  // namespace greenroom::emulation
