#include "tools/profile_file.h"

#include "cpu/topology.h"
#include "quant/base/error.h"
#include "quant/base/log.h"
#include "quant/gguf.h"
#include "tools/partial_file.h"

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
    const std::string text = runtime::to_json(profile);
    PartialFile file(path, static_cast<std::int64_t>(text.size()));
    file.write_at(0, text.data(), text.size());
    file.commit();
}

StartThreads StartThreads::choose(const std::string& model_path, const runtime::ThreadOptions& given) {
    if (given.n_threads > 0) return {given, fmt::format("{} threads, as -t says", given.n_threads)};
    try {
        const runtime::ProfileKey key = runtime::profile_key(quant::Gguf::open(model_path));
        const std::string path = profile_path(key);
        if (const auto profile = load_profile(path, key)) {
            const int n = profile->tuning.n_threads;
            runtime::ThreadOptions threads = given;
            threads.n_threads = n;
            // What the profile knows is decoding; a prompt takes all cores.
            if (threads.n_threads_batch == 0)
                threads.n_threads_batch = std::max(n, cpu::default_thread_count());
            return {threads, fmt::format("{} threads, from the profile {}", n, path)};
        }
    } catch (const Error&) {
        // Engine::open() finds the same and says it.
    }
    return {given, "none for this model and machine (`greenroom tune` makes one): a thread per core"};
}

}  // namespace greenroom::tools
