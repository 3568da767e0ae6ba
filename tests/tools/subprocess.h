#pragma once

// Runs the built program as a user would: arguments in, exit code and texts out.

#include "tests/support/paths.h"

#include <sys/types.h>

#include <string>
#include <vector>

namespace greenroom::test {

struct Finished {
    int exit_code = -1;  // 128 + the signal's number when a signal ended it
    std::string out;
    std::string err;
};

struct Redirection {
    std::string stdin_text;
    std::string stdout_path;  // written instead of Finished::out, if not empty
    int stdout_fd = -1;       // the same, for something without a name
};

// A program that runs. The destructor ends it.
class Subprocess {
  public:
    // argv[0] is the program's path.
    explicit Subprocess(const std::vector<std::string>& argv, const Redirection& redirection = {});
    ~Subprocess();
    Subprocess(const Subprocess&) = delete;
    Subprocess& operator=(const Subprocess&) = delete;

    // What it has written to standard output so far.
    std::string out() const;
    void send_signal(int signal) const;
    Finished wait();

  private:
    TempDir folder_;
    pid_t pid_ = -1;
};

// `greenroom ARGS…` until it ends.
Finished greenroom(const std::vector<std::string>& args, const Redirection& redirection = {});

// {GREENROOM_BINARY, args…}
std::vector<std::string> greenroom_argv(const std::vector<std::string>& args);

// One of the tiny models in tests/data: "deepseek2", "deepseek2-lite", "kimi-k2".
std::string mini_model(const std::string& name = "deepseek2");

}  // namespace greenroom::test
