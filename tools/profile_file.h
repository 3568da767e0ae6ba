#pragma once

// Where profiles are kept, and what a start takes from one: $XDG_DATA_HOME/greenroom/profiles, by default
// ~/.local/share/greenroom/profiles, a file for each machine and model.

#include "runtime/profile.h"
#include "runtime/thread_options.h"

#include <optional>
#include <string>

namespace greenroom::tools {

// Empty where neither variable names a place.
std::string profile_folder();

// The file for this key; empty without a folder.
std::string profile_path(const runtime::ProfileKey& key);

// The profile in this file for this key. Empty where there is none, and where it cannot be used: broken,
// of a newer version, or for something else. A warning in the log then says why.
std::optional<runtime::Profile> load_profile(const std::string& path, const runtime::ProfileKey& key);

// Makes the folder and replaces the file at once. Error{io}.
void save_profile(const std::string& path, const runtime::Profile& profile);

// The profile that a start goes by, if there is one.
struct StartProfile {
    std::string path;  // where it is
    std::optional<runtime::Profile> profile;

    // Reads the model's metadata. What is wrong with the model is left to Engine::open() to say.
    static StartProfile find(const std::string& model_path);
    static StartProfile find(const quant::Gguf& model);

    // -t, where it is given (not 0), else the profile's number, else one per core.
    runtime::ThreadOptions threads(const runtime::ThreadOptions& given) const;

    // What it says of the GPU; nothing where none was measured.
    std::optional<runtime::GpuTuning> gpu() const;

    // A line for --stats: what comes from where. given: by flags. batch_tokens: in use.
    std::string describe(const runtime::ThreadOptions& given, std::int64_t batch_tokens) const;
};

}  // namespace greenroom::tools
