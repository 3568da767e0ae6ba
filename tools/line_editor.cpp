#include "tools/line_editor.h"

#include "quant/base/error.h"
#include "quant/base/log.h"
#include "tools/standard_streams.h"

#include <histedit.h>
#include <langinfo.h>

#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace greenroom::tools {
namespace {

constexpr int kHistoryLines = 1000;

// libedit takes characters apart by the locale, and everything here is UTF-8.
void use_utf8() {
    std::setlocale(LC_CTYPE, "");
    if (std::string_view(nl_langinfo(CODESET)) != "UTF-8") std::setlocale(LC_CTYPE, "C.UTF-8");
}

class LineEditor : public LineSource {
  public:
    explicit LineEditor(const std::string& history_path);
    ~LineEditor() override;

    Status read(const std::string& prompt, std::string& line) override;
    bool is_interactive() const noexcept override { return true; }

  private:
    // What libedit calls back.
    static LineEditor& of(EditLine* editor);
    static char* prompt_of(EditLine* editor) { return of(editor).prompt_.data(); }
    static unsigned char on_interrupt(EditLine* editor, int key);
    static unsigned char on_suspend(EditLine* editor, int key);

    void bind_keys();
    void load_history();
    void remember(const std::string& line);

    EditLine* editor_;
    History* history_;
    std::string history_path_;
    std::string prompt_;
    bool interrupted_ = false;
};

LineEditor::LineEditor(const std::string& history_path) : history_path_(history_path) {
    use_utf8();
    editor_ = ::el_init("greenroom", stdin, output_is_terminal() ? stdout : stderr, stderr);
    history_ = ::history_init();
    if (editor_ == nullptr || history_ == nullptr) {
        if (editor_ != nullptr) ::el_end(editor_);
        if (history_ != nullptr) ::history_end(history_);
        fail(ErrorKind::io, "standard input: the terminal cannot be used for editing lines");
    }
    ::el_set(editor_, EL_CLIENTDATA, this);
    ::el_set(editor_, EL_PROMPT, &LineEditor::prompt_of);
    ::el_set(editor_, EL_EDITOR, "emacs");
    ::el_set(editor_, EL_HIST, ::history, history_);
    bind_keys();
    ::el_source(editor_, nullptr);
    load_history();
}

LineEditor::~LineEditor() {
    ::history_end(history_);
    ::el_end(editor_);
}

LineEditor& LineEditor::of(EditLine* editor) {
    void* self = nullptr;
    ::el_get(editor, EL_CLIENTDATA, &self);
    return *static_cast<LineEditor*>(self);
}

// While a line is edited, Ctrl-C and Ctrl-Z are keys: a signal would end the editor's read in ways of its
// own.
void LineEditor::bind_keys() {
    const char* const end = nullptr;
    ::el_set(editor_, EL_SETTY, "-d", "-isig", end);
    ::el_set(editor_, EL_ADDFN, "interrupt", "Drop the line", &LineEditor::on_interrupt);
    ::el_set(editor_, EL_ADDFN, "suspend", "Suspend the program", &LineEditor::on_suspend);
    constexpr const char* kKeys[][2] = {
        {"^C", "interrupt"},
        {"^Z", "suspend"},
        {"^R", "em-inc-search-prev"},
        {"^W", "ed-delete-prev-word"},
        {"\\e[3~", "ed-delete-next-char"},
        {"\\e[H", "ed-move-to-beg"},
        {"\\e[1~", "ed-move-to-beg"},
        {"\\e[F", "ed-move-to-end"},
        {"\\e[4~", "ed-move-to-end"},
        {"\\e[1;5C", "em-next-word"},
        {"\\e[1;5D", "ed-prev-word"},
    };
    for (const auto& [key, command] : kKeys) ::el_set(editor_, EL_BIND, key, command, end);
}

unsigned char LineEditor::on_interrupt(EditLine* editor, int /*key*/) {
    of(editor).interrupted_ = true;
    return CC_EOF;
}

unsigned char LineEditor::on_suspend(EditLine* editor, int /*key*/) {
    ::el_set(editor, EL_PREP_TERM, 0);
    std::raise(SIGTSTP);
    ::el_set(editor, EL_PREP_TERM, 1);
    return CC_REDISPLAY;
}

LineSource::Status LineEditor::read(const std::string& prompt, std::string& line) {
    prompt_ = prompt;
    interrupted_ = false;
    int n_bytes = 0;
    errno = 0;
    // el_gets() shows the prompt first and sets the terminal after: a quick Ctrl-C would still be a signal.
    ::el_set(editor_, EL_PREP_TERM, 1);
    const char* text = ::el_gets(editor_, &n_bytes);
    if (interrupted_) {
        const LineInfo* info = ::el_line(editor_);
        line.assign(info->buffer, info->lastchar);
        ::el_reset(editor_);
        write_error("^C\n");
        return Status::interrupted;
    }
    if (text == nullptr || n_bytes <= 0) {
        if (n_bytes < 0 && errno != 0)
            fail(ErrorKind::io, "standard input: cannot read: {}", std::generic_category().message(errno));
        write_error("\n");
        return Status::end;
    }
    line.assign(text, static_cast<std::size_t>(n_bytes));
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    if (!line.empty()) remember(line);
    return Status::line;
}

void LineEditor::load_history() {
    HistEvent event;
    ::history(history_, &event, H_SETSIZE, kHistoryLines);
    ::history(history_, &event, H_SETUNIQUE, 1);
    if (history_path_.empty() || !std::filesystem::exists(history_path_)) return;
    if (::history(history_, &event, H_LOAD, history_path_.c_str()) < 0)
        log_warning("{}: cannot read the history of lines: {}", history_path_, event.str);
}

// Saved at once, since a program may end in many ways. The file gets its name when it is complete.
void LineEditor::remember(const std::string& line) {
    HistEvent event;
    ::history(history_, &event, H_ENTER, line.c_str());
    if (history_path_.empty()) return;
    const std::string partial = history_path_ + ".partial";
    std::error_code error;
    if (::history(history_, &event, H_SAVE, partial.c_str()) < 0)
        error = std::error_code(errno, std::generic_category());
    else
        std::filesystem::rename(partial, history_path_, error);
    if (!error) return;
    log_warning("{}: cannot keep the history of lines: {}", history_path_, error.message());
    history_path_.clear();
}

}  // namespace

std::unique_ptr<LineSource> make_line_editor(const std::string& history_path) {
    return std::make_unique<LineEditor>(history_path);
}

}  // namespace greenroom::tools
