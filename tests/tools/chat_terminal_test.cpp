// greenroom chat in a terminal: line editing, history, Ctrl-C, Ctrl-D, and how reasoning is told apart.

#include "tests/support/paths.h"
#include "tests/tools/subprocess.h"

#include <gtest/gtest.h>

#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace greenroom::test {
namespace {

constexpr int kPatienceMs = 30'000;  // with a program that says nothing

// The program with a pseudo-terminal for all of its streams.
class Terminal {
  public:
    Terminal(const std::vector<std::string>& args, const std::vector<std::string>& environment) {
        std::vector<std::string> argv = greenroom_argv(args);
        pid_ = ::forkpty(&fd_, nullptr, nullptr, nullptr);
        if (pid_ != 0) return;
        ::unsetenv("NO_COLOR");
        // libedit keeps some bytes until the end; the address sanitizer would call that a failure.
        ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
        for (const std::string& variable : environment) ::putenv(const_cast<char*>(variable.c_str()));
        std::vector<char*> pointers;
        for (std::string& arg : argv) pointers.push_back(arg.data());
        pointers.push_back(nullptr);
        ::execv(pointers[0], pointers.data());
        ::_exit(127);
    }

    ~Terminal() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
        ::close(fd_);
    }
    Terminal(const Terminal&) = delete;
    Terminal& operator=(const Terminal&) = delete;

    void type(const std::string& keys) const {
        ASSERT_EQ(::write(fd_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
    }

    // What appears until this text does; a failure if it does not.
    std::string read_until(const std::string& text) {
        std::string seen;
        while (seen.find(text) == std::string::npos) {
            if (read_some(seen) == Read::some) continue;
            ADD_FAILURE() << "no \"" << text << "\" in: " << seen;
            break;
        }
        return seen;
    }

    void read_something() {
        std::string seen;
        EXPECT_EQ(read_some(seen), Read::some);
    }

    // Keys that are typed before this would come to a terminal that is not set for editing.
    std::string read_until_prompt() { return read_until("\n> "); }

    // Waits for the end; a program that neither ends nor says anything is killed.
    int exit_code() {
        std::string rest;
        Read read = Read::some;
        while (read == Read::some) read = read_some(rest);
        if (read == Read::silence) ::kill(pid_, SIGKILL);
        int status = 0;
        ::waitpid(pid_, &status, 0);
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }

  private:
    enum class Read { some, silence, end };

    Read read_some(std::string& seen) const {
        pollfd ready = {fd_, POLLIN, 0};
        if (::poll(&ready, 1, kPatienceMs) <= 0) return Read::silence;
        char bytes[4096];
        const ssize_t n_read = ::read(fd_, bytes, sizeof bytes);
        if (n_read <= 0) return Read::end;
        seen.append(bytes, static_cast<std::size_t>(n_read));
        return Read::some;
    }

    pid_t pid_ = -1;
    int fd_ = -1;
};

class ChatTerminal : public testing::Test {
  protected:
    std::vector<std::string> environment(const std::vector<std::string>& more = {}) const {
        std::vector<std::string> all = {"TERM=xterm", "LC_ALL=C.UTF-8",
                                        "XDG_STATE_HOME=" + folder_.path().string(),
                                        "HOME=" + folder_.path().string()};
        all.insert(all.end(), more.begin(), more.end());
        return all;
    }

    static std::vector<std::string> chat(const std::vector<std::string>& flags = {}) {
        std::vector<std::string> args = {"chat", "-m", demo_model_file(), "-t", "1", "--temp", "0"};
        args.insert(args.end(), flags.begin(), flags.end());
        return args;
    }

    std::string saved(const std::string& name) const {
        std::ifstream in(folder_.file(name));
        return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    }

    const TempDir folder_;
};

TEST_F(ChatTerminal, LinesAreEditedAndKeptForTheNextTime) {
    {
        Terminal terminal(chat({"-n", "4"}), environment());
        terminal.read_until_prompt();
        terminal.type("ruße\x1b[D\x1b[D\x1b[D\x1b[DG\x01\x1b[C\x05!\r");  // left, Home, right, End
        terminal.read_until_prompt();
        terminal.type("/save " + folder_.file("chat.json") + "\r");
        terminal.read_until_prompt();
        terminal.type("\x04");
        EXPECT_EQ(terminal.exit_code(), 0);
    }
    EXPECT_NE(saved("chat.json").find("\"Gruße!\""), std::string::npos) << saved("chat.json");
    Terminal again(chat(), environment());
    again.read_until_prompt();
    again.type("\x1b[A\x1b[A");
    again.read_until("Gruße!");
    again.type("\x15/exit\r");
    EXPECT_EQ(again.exit_code(), 0);
}

TEST_F(ChatTerminal, HistoryCanBeDeclined) {
    Terminal terminal(chat({"--no-history"}), environment());
    terminal.read_until_prompt();
    terminal.type("/stats\r");
    terminal.read_until_prompt();
    terminal.type("\x04");
    EXPECT_EQ(terminal.exit_code(), 0);
    EXPECT_EQ(saved("greenroom/chat_history"), "");
}

TEST_F(ChatTerminal, BackslashGoesOnInTheNextLine) {
    Terminal terminal(chat({"-n", "2"}), environment());
    terminal.read_until_prompt();
    terminal.type("one\\\r");
    terminal.read_until(". ");
    terminal.type("two\r");
    terminal.read_until_prompt();
    terminal.type("/save " + folder_.file("chat.json") + "\r");
    terminal.read_until_prompt();
    EXPECT_NE(saved("chat.json").find("\"one\\ntwo\""), std::string::npos) << saved("chat.json");
}

TEST_F(ChatTerminal, InterruptStopsTheAnswerAndNotTheProgram) {
    Terminal terminal(chat({"-l", "4095-inf", "-l", "4093-inf"}), environment());
    terminal.read_until_prompt();
    terminal.type("In the beginning\r");
    terminal.read_until("beginning\r\n");
    terminal.read_something();  // of the answer
    terminal.type("\x03");
    EXPECT_NE(terminal.read_until_prompt().find("[interrupted; "), std::string::npos);
    terminal.type("/exit\r");
    EXPECT_EQ(terminal.exit_code(), 0);
}

TEST_F(ChatTerminal, InterruptDropsALineAndTwoAtAnEmptyOneLeave) {
    Terminal terminal(chat(), environment());
    terminal.read_until_prompt();
    terminal.type("typed in vain\x03");
    terminal.read_until_prompt();
    terminal.type("\x03");
    EXPECT_NE(terminal.read_until_prompt().find("Ctrl-C again"), std::string::npos);
    terminal.type("\x03");
    EXPECT_EQ(terminal.exit_code(), 0);
}

TEST_F(ChatTerminal, ReasoningIsDimmedUnlessColoursAreDeclined) {
    const std::string path = folder_.file("chat.jinja");
    std::ofstream(path) << "{{ messages[-1].content }}<think>\n";
    const auto shown = [&](const std::vector<std::string>& more) {
        Terminal terminal(chat({"-n", "6", "--no-history", "--chat-template-file", path}), environment(more));
        terminal.read_until_prompt();
        terminal.type("In the beginning\r");
        return terminal.read_until_prompt();
    };
    const std::string dimmed = shown({});
    EXPECT_NE(dimmed.find("\x1b[2m"), std::string::npos) << dimmed;
    EXPECT_NE(dimmed.find("\x1b[0m"), std::string::npos) << dimmed;
    for (const char* variable : {"NO_COLOR=1", "TERM=dumb"}) {
        const std::string plain = shown({variable});
        EXPECT_EQ(plain.find("\x1b[2m"), std::string::npos) << plain;
        EXPECT_NE(plain.find("[reasoning]"), std::string::npos) << plain;
    }
}

}  // namespace
}  // namespace greenroom::test
