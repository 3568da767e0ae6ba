#include "tools/partial_folder.h"

#include "quant/base/error.h"
#include "tools/printable.h"

#include <algorithm>
#include <system_error>

namespace greenroom::tools {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPartial = "partial";

void check(const std::error_code& error, const fs::path& path, std::string_view what) {
    if (error) fail(ErrorKind::io, "{}: cannot {}: {}", path.string(), what, error.message());
}

// Something in the folder that is none of these files; "" if there is nothing else.
std::string stranger_in(const fs::path& folder, std::span<const std::string_view> file_names) {
    std::error_code error;
    fs::directory_iterator entry(folder, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
        std::string name = entry->path().filename().string();
        std::error_code ignored;
        if (name == kPartial && entry->is_directory(ignored)) continue;
        const bool is_known = std::find(file_names.begin(), file_names.end(), name) != file_names.end();
        if (!is_known || entry->is_directory(ignored)) return name;
    }
    check(error, folder, "look into the folder");
    return "";
}

}  // namespace

PartialFolder::PartialFolder(const std::string& path, std::span<const std::string_view> file_names)
    : path_(path), partial_path_(path_ / kPartial), file_names_(file_names) {
    std::error_code error;
    is_new_ = fs::create_directories(path_, error);
    check(error, path_, "create the folder");
    // What a program that was killed has left is removed, and nothing else.
    const bool has_partial = fs::is_directory(partial_path_, error);
    std::string stranger = stranger_in(path_, file_names);
    if (stranger.empty() && has_partial && !(stranger = stranger_in(partial_path_, file_names)).empty())
        stranger = (fs::path(kPartial) / stranger).string();
    if (!stranger.empty())
        fail(ErrorKind::bad_input,
             "{}: found {} in it, expected an empty folder, a new one, or one with such files as go there. "
             "Name another",
             path_.string(), printable(stranger, 80));
    fs::remove_all(partial_path_, error);
    check(error, partial_path_, "remove the folder");
    fs::create_directory(partial_path_, error);
    check(error, partial_path_, "create the folder");
}

PartialFolder::~PartialFolder() {
    std::error_code ignored;
    fs::remove_all(partial_path_, ignored);
    if (is_new_ && !committed_) fs::remove(path_, ignored);  // if it is empty
}

void PartialFolder::check_room(std::int64_t bytes) const {
    std::error_code error;
    const fs::space_info space = fs::space(partial_path_, error);
    if (error) return;  // writing will tell
    if (space.available < static_cast<std::uintmax_t>(bytes))
        fail(ErrorKind::io, "{}: needs {}; the disk has room for {}. Free some, or name another folder",
             path_.string(), human_bytes(bytes), human_bytes(static_cast<std::int64_t>(space.available)));
}

void PartialFolder::commit() {
    std::error_code error;
    for (const std::string_view name : file_names_) {
        fs::remove(path_ / name, error);
        check(error, path_ / name, "replace the file");
    }
    for (auto name = file_names_.rbegin(); name != file_names_.rend(); ++name) {
        if (!fs::exists(partial_path_ / *name, error)) continue;
        fs::rename(partial_path_ / *name, path_ / *name, error);
        check(error, path_ / *name, "rename the finished file");
    }
    fs::remove(partial_path_, error);
    check(error, partial_path_, "remove the folder");
    committed_ = true;
}

}  // namespace greenroom::tools
