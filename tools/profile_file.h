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

// With how many threads a model starts, and who says so.
struct StartThreads {
    runtime::ThreadOptions threads;  // for Engine::open()
    std::string because;             // a line for --stats

    // -t, where it is given (not 0), else the profile's, else one per core. Reads the model's metadata. What
    // is wrong with the model is left to Engine::open() to say.
    static StartThreads choose(const std::string& model_path, const runtime::ThreadOptions& given);
};

}  // namespace greenroom::tools
