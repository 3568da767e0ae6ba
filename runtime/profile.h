#pragma once

// Profile: what `tune` has measured on one machine with one model and what it chose, as JSON for people and
// for the next start. Values only: which file it is in, and writing it, is the program's
// (tools/profile_file.h).

#include "quant/gguf.h"
#include "runtime/machine_measurements.h"
#include "runtime/tuning.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace greenroom::runtime {

// What a profile is for. It is used where all of this is the same.
struct ProfileKey {
    std::string model;  // general.name, or the file's name
    std::uint64_t file_bytes = 0;
    std::uint64_t metadata_hash = 0;
    std::string cpu;
    int n_cores = 0;    // that the process may use,
    int n_threads = 0;  // and hardware threads, both within the cgroup's quota
    std::string gpu;    // installed_gpus()

    friend bool operator==(const ProfileKey&, const ProfileKey&) = default;
};

// Of this machine. The hash is FNV-1a over all keys, types and single values of the metadata, the lengths of
// arrays, and name, type, shape and place of each tensor: what makes another model of it, and not the
// vocabulary's megabytes.
ProfileKey profile_key(const quant::Gguf& gguf);

// "qwen3-30b-a3b-0123456789abcdef.json": of the model's name and of a hash of the whole key.
std::string profile_file_name(const ProfileKey& key);

struct Profile {
    // Files of a larger version are not read. Don't change what a version means: count on. Version 1 knows
    // nothing of what is staged.
    static constexpr int kVersion = 2;

    ProfileKey key;
    std::string made;  // date and time, UTC, for people
    MachineMeasurements measured;
    Tuning tuning;

    friend bool operator==(const Profile&, const Profile&) = default;
};

// Ends with a line break.
std::string to_json(const Profile& profile);

// Error{bad_input} that says what is wrong with the text, or that it is of a newer version. What it does not
// know is passed over. name: for messages.
Profile parse_profile(std::string_view json, const std::string& name);

// Error{bad_input} that names the first difference, where the profile is not for `key`.
void check_profile_is_for(const Profile& profile, const ProfileKey& key, const std::string& name);

}  // namespace greenroom::runtime
