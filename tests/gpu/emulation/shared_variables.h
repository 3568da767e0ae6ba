#pragma once

// The __shared__ variables of all kernels, which the emulated build makes thread_local: found through the
// program's own symbol table, since a macro can't note where each one lies.

#include <string>

namespace greenroom::emulation {

// Sets every byte of this thread's __shared__ variables to 0xff: NaN, or -1.
void fill_shared_variables();

// How many there are, in the whole program.
int n_shared_variables();

// The demangled name of a function of this program, "?" if it has none.
std::string function_name(const void* function);

}  // namespace greenroom::emulation
