#pragma once

// SignalsBlocked: while it lives, the calling thread takes no signals. Threads inherit that when they are
// made, so that signals go to the program's own threads.

#include <csignal>

namespace greenroom::cache {

class SignalsBlocked {
  public:
    SignalsBlocked() noexcept {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

  private:
    sigset_t before_{};
};

}  // namespace greenroom::cache
