#pragma once

namespace greenroom::cpu {

// Whether this CPU has AMX with products of bytes and the system lets this process use it, for which it asks:
// Linux gives a process the tiles' state only then, for all its threads at once
// (Documentation/arch/x86/xstate.rst). Asking twice does no harm. In a file of its own, so that tests can put
// an emulation in its place.
bool request_amx() noexcept;

}  // namespace greenroom::cpu
