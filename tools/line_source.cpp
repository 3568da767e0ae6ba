#include "tools/line_source.h"

#include "quant/base/error.h"
#include "tools/line_editor.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

namespace greenroom::tools {
namespace {

namespace fs = std::filesystem;

// Lines as they stand in a file or come through a pipe.
class PlainLines : public LineSource {
  public:
    Status read(const std::string& /*prompt*/, std::string& line) override {
        std::size_t size = read_.find('\n');
        while (size == std::string::npos) {
            const std::size_t n_searched = read_.size();
            if (!fill()) {
                line = std::exchange(read_, {});
                return line.empty() ? Status::end : Status::line;
            }
            size = read_.find('\n', n_searched);
        }
        line = read_.substr(0, size);
        read_.erase(0, size + 1);
        return Status::line;
    }

    bool is_interactive() const noexcept override { return false; }

  private:
    // False at the end of the input.
    bool fill() {
        char bytes[4096];
        ssize_t n_read = 0;
        do n_read = ::read(STDIN_FILENO, bytes, sizeof bytes);
        while (n_read < 0 && errno == EINTR);
        if (n_read < 0)
            fail(ErrorKind::io, "standard input: cannot read: {}", std::generic_category().message(errno));
        read_.append(bytes, static_cast<std::size_t>(n_read));
        return n_read > 0;
    }

    std::string read_;  // and not handed over
};

}  // namespace

std::unique_ptr<LineSource> open_standard_input(const std::string& history_path) {
    if (::isatty(STDIN_FILENO) == 1) return make_line_editor(history_path);
    return std::make_unique<PlainLines>();
}

std::string state_file_path(const std::string& name) {
    const char* state = std::getenv("XDG_STATE_HOME");
    const char* home = std::getenv("HOME");
    fs::path folder;
    // The XDG Base Directory Specification: a path that is not absolute is to be ignored.
    if (state != nullptr && fs::path(state).is_absolute())
        folder = state;
    else if (home != nullptr && fs::path(home).is_absolute())
        folder = fs::path(home) / ".local" / "state";
    else
        return {};
    folder /= "greenroom";
    std::error_code error;
    fs::create_directories(folder, error);
    return error ? std::string() : (folder / name).string();
}

}  // namespace greenroom::tools
