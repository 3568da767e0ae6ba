#include "tests/tools/subprocess.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace greenroom::test {
namespace {

std::string contents(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace

Subprocess::Subprocess(const std::vector<std::string>& argv, const Redirection& redirection) {
    std::ofstream(folder_.file("in"), std::ios::binary) << redirection.stdin_text;
    const std::string out = redirection.stdout_path.empty() ? folder_.file("out") : redirection.stdout_path;

    constexpr mode_t kMode = 0600;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, folder_.file("in").c_str(), O_RDONLY, kMode);
    if (redirection.stdout_fd >= 0)
        posix_spawn_file_actions_adddup2(&actions, redirection.stdout_fd, STDOUT_FILENO);
    else
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, out.c_str(), O_WRONLY | O_CREAT, kMode);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, folder_.file("err").c_str(), O_WRONLY | O_CREAT,
                                     kMode);

    std::vector<char*> pointers;
    for (const std::string& arg : argv) pointers.push_back(const_cast<char*>(arg.c_str()));
    pointers.push_back(nullptr);
    const int error = posix_spawn(&pid_, pointers[0], &actions, nullptr, pointers.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) throw std::runtime_error("cannot start " + argv.front());
}

Subprocess::~Subprocess() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    wait();
}

std::string Subprocess::out() const { return contents(folder_.file("out")); }

void Subprocess::send_signal(int signal) const { ::kill(pid_, signal); }

Finished Subprocess::wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    Finished finished;
    finished.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    finished.out = out();
    finished.err = contents(folder_.file("err"));
    return finished;
}

Finished greenroom(const std::vector<std::string>& args, const Redirection& redirection) {
    return Subprocess(greenroom_argv(args), redirection).wait();
}

std::vector<std::string> greenroom_argv(const std::vector<std::string>& args) {
    std::vector<std::string> argv = {GREENROOM_BINARY};
    argv.insert(argv.end(), args.begin(), args.end());
    return argv;
}

std::string mini_model(const std::string& name) {
    return test_data("oracle/mini/" + name + "/model-bf16.gguf").string();
}

}  // namespace greenroom::test
