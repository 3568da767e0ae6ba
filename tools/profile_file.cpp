#include "tools/profile_file.h"

#include "cpu/topology.h"
#include "quant/base/error.h"
#include "quant/base/log.h"
#include "quant/gguf.h"
#include "tools/partial_file.h"
#include "tools/printable.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

namespace greenroom::tools {

namespace fs = std::filesystem;

std::string profile_folder() {
    const char* data = std::getenv("XDG_DATA_HOME");
    const char* home = std::getenv("HOME");
    fs::path folder;
    // The XDG Base Directory Specification: a path that is not absolute is to be ignored.
    if (data != nullptr && fs::path(data).is_absolute())
        folder = data;
    else if (home != nullptr && fs::path(home).is_absolute())
        folder = fs::path(home) / ".local" / "share";
    else
        return {};
    return (folder / "greenroom" / "profiles").string();
}

std::string profile_path(const runtime::ProfileKey& key) {
    const std::string folder = profile_folder();
    return folder.empty() ? folder : (fs::path(folder) / runtime::profile_file_name(key)).string();
}

std::optional<runtime::Profile> load_profile(const std::string& path, const runtime::ProfileKey& key) {
    std::error_code error;
    if (path.empty() || !fs::exists(path, error)) return std::nullopt;
    std::ifstream in(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    try {
        if (!in) fail(ErrorKind::io, "{}: cannot be read", path);
        runtime::Profile profile = runtime::parse_profile(text, path);
        runtime::check_profile_is_for(profile, key, path);
        return profile;
    } catch (const Error& reason) {
        log_warning("profile ignored: {}", reason.what());
        return std::nullopt;
    }
}

void save_profile(const std::string& path, const runtime::Profile& profile) {
    std::error_code error;
    fs::create_directories(fs::path(path).parent_path(), error);
    if (error)
        fail(ErrorKind::io, "{}: cannot create the folder: {}", fs::path(path).parent_path().string(),
             error.message());
    write_file(path, runtime::to_json(profile));
}

StartProfile StartProfile::find(const std::string& model_path) {
    try {
        return find(quant::Gguf::open(model_path));
    } catch (const Error&) {
        return {};  // Engine::open() finds the same and says it
    }
}

StartProfile StartProfile::find(const quant::Gguf& model) {
    const runtime::ProfileKey key = runtime::profile_key(model);
    StartProfile start{profile_path(key), std::nullopt};
    start.profile = load_profile(start.path, key);
    return start;
}

runtime::ThreadOptions StartProfile::threads(const runtime::ThreadOptions& given) const {
    runtime::ThreadOptions threads = given;
    if (given.n_threads > 0 || !profile) return threads;
    threads.n_threads = profile->tuning.n_threads;
    // What the profile knows is decoding; a prompt takes all cores.
    if (threads.n_threads_batch == 0)
        threads.n_threads_batch = std::max(threads.n_threads, cpu::default_thread_count());
    return threads;
}

std::optional<runtime::GpuTuning> StartProfile::gpu() const {
    if (!profile || !profile->measured.gpu || profile->tuning.gpu == runtime::GpuTuning{})
        return std::nullopt;
    return profile->tuning.gpu;
}

std::string StartProfile::describe(const runtime::ThreadOptions& given, std::int64_t batch_tokens) const {
    std::string text =
        given.n_threads > 0 ? counted(given.n_threads, "thread") + ", as -t says"
        : profile           ? counted(profile->tuning.n_threads, "thread")
                  : "none for this model and machine (`greenroom tune` makes one): a thread per core";
    if (!profile) return text;
    text += fmt::format("{} from the profile {}", given.n_threads > 0 ? "; other sizes" : ",", path);
    if (batch_tokens == profile->tuning.batch_tokens)
        text += "; batches of " + counted(batch_tokens, "token");
    return text;
}

}  // namespace greenroom::tools
