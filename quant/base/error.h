#pragma once

// The one exception type of Greenroom and the macro that guards our own invariants.
//
// A message has four parts: the file or field, what was found, what was expected, what to do about it.
// Outcomes that are normal (a cache miss, the end of a generation) are values, never exceptions.

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace greenroom {

// What kind of trouble it is; decides the exit code and the HTTP status, not the wording.
enum class ErrorKind {
    bad_input,      // a file, flag or request is wrong: the user can correct it
    unsupported,    // well-formed, but nothing here can do it
    out_of_memory,  // a budget or the machine's memory does not suffice
    io,             // the system refused a read, a write or a mapping
    device,         // a GPU call failed
    internal,       // one of our own invariants does not hold: a defect
};

class Error : public std::runtime_error {
  public:
    Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}

    ErrorKind kind() const noexcept { return kind_; }

  private:
    ErrorKind kind_;
};

// Throws Error{kind} with a fmt-formatted message.
template <class... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
    throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace greenroom

// An invariant of our own code, checked in every build. Throws Error{internal}: the session ends, the process
// does not.
#define GR_CHECK(condition)                                                                         \
    do {                                                                                            \
        if (!(condition)) [[unlikely]]                                                              \
            ::greenroom::fail(::greenroom::ErrorKind::internal, "{}:{}: internal check failed: {}", \
                              __FILE__, __LINE__, #condition);                                      \
    } while (false)
