#include "runtime/profile.h"

#include "cpu/topology.h"
#include "quant/base/error.h"
#include "runtime/gpu_probe.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

namespace greenroom::runtime {
namespace {

using nlohmann::ordered_json;

constexpr int kMostThreads = 1024;  // of -t
constexpr std::int64_t kMostBatch = 65536;

// FNV-1a, 64 bits.
class Hash {
  public:
    void add(std::string_view bytes) noexcept {
        add(bytes.size());
        for (const char c : bytes) byte(static_cast<unsigned char>(c));
    }
    void add(std::uint64_t value) noexcept {
        for (int i = 0; i < 8; ++i) byte(static_cast<unsigned char>(value >> (8 * i)));
    }
    std::uint64_t value() const noexcept { return value_; }

  private:
    void byte(unsigned char b) noexcept { value_ = (value_ ^ b) * 0x100000001b3U; }

    std::uint64_t value_ = 0xcbf29ce484222325U;
};

void add(Hash& hash, const quant::GgufValue& value) {
    hash.add(static_cast<std::uint64_t>(value.type()));
    if (const quant::GgufArray* array = value.as_array())
        hash.add(array->size());
    else if (const auto text = value.as_string())
        hash.add(*text);
    else if (const auto whole = value.as_uint())
        hash.add(*whole);
    else if (const auto negative = value.as_int())
        hash.add(static_cast<std::uint64_t>(*negative));
    else if (const auto flag = value.as_bool())
        hash.add(std::uint64_t{*flag});
    else if (const auto number = value.as_double())
        hash.add(std::bit_cast<std::uint64_t>(*number));
}

// Of values that only say something to a reader of the file: three digits more than anybody believes.
double rounded(double value) {
    if (value == 0 || !std::isfinite(value)) return 0;
    return std::stod(fmt::format("{:.6g}", value));
}

// Reads values from an object and says where something is missing or impossible.
class Reader {
  public:
    Reader(const ordered_json& object, std::string where, const std::string& name)
        : object_(object), where_(std::move(where)), name_(name) {
        if (!object_.is_object()) bad(where_.empty() ? "the file" : where_, "no object");
    }

    const ordered_json& at(const char* key) const {
        const auto found = object_.find(key);
        if (found == object_.end()) bad(place(key), "nothing");
        return *found;
    }
    Reader object(const char* key) const { return {at(key), place(key), name_}; }
    bool has(const char* key) const {
        const auto found = object_.find(key);
        return found != object_.end() && !found->is_null();
    }

    std::string text(const char* key) const {
        const ordered_json& value = at(key);
        if (!value.is_string()) bad(place(key), "no text");
        return value.get<std::string>();
    }
    double number(const char* key, double most = std::numeric_limits<double>::max()) const {
        const ordered_json& value = at(key);
        if (!value.is_number()) bad(place(key), "no number");
        const auto result = value.get<double>();
        if (!(result >= 0 && result <= most)) bad(place(key), value.dump());
        return result;
    }
    std::int64_t whole(const char* key, std::int64_t least, std::int64_t most) const {
        const ordered_json& value = at(key);
        if (!value.is_number_integer()) bad(place(key), "no whole number");
        const bool too_large =
            value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(most);
        if (too_large || value.get<std::int64_t>() < least || value.get<std::int64_t>() > most)
            bad(place(key), value.dump());
        return value.get<std::int64_t>();
    }
    std::uint64_t hex(const char* key) const {
        const std::string digits = text(key);
        std::uint64_t value = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
        if (error != std::errc{} || end != digits.data() + digits.size()) bad(place(key), digits);
        return value;
    }
    template <class Each>
    void each(const char* key, const Each& use) const {
        const ordered_json& list = at(key);
        if (!list.is_array()) bad(place(key), "no list");
        for (const ordered_json& item : list) use(Reader(item, place(key), name_));
    }

  private:
    std::string place(const char* key) const { return where_.empty() ? key : where_ + "." + key; }
    [[noreturn]] void bad(const std::string& place, const std::string& found) const {
        fail(ErrorKind::bad_input,
             "{}: {}: found {}; that is not as `greenroom tune` writes it. Run it again", name_, place,
             found);
    }

    const ordered_json& object_;
    std::string where_;
    const std::string& name_;
};

constexpr auto kMostInt64 = std::numeric_limits<std::int64_t>::max();

ordered_json measured_json(const MachineMeasurements& measured) {
    ordered_json json{{"expert_bytes", measured.expert_bytes},
                      {"ssd_read_bytes_per_s", rounded(measured.ssd_read)}};
    json["threads"] = ordered_json::array();
    for (const ThreadMeasurement& point : measured.threads)
        json["threads"].push_back({{"n", point.n_threads},
                                   {"dram_read_bytes_per_s", rounded(point.dram_read)},
                                   {"expert_s", rounded(point.expert_s)}});
    json["experts"] = ordered_json::array();
    for (const ExpertMeasurement& point : measured.experts)
        json["experts"].push_back({{"tokens", point.n_tokens}, {"expert_s", rounded(point.seconds)}});
    json["decodes"] = ordered_json::array();
    for (const DecodeMeasurement& point : measured.decodes)
        json["decodes"].push_back(
            {{"threads", point.n_threads}, {"tokens_per_s", rounded(point.tokens_per_s)}});
    json["gpu"] = nullptr;
    if (measured.gpu)
        json["gpu"] = {
            {"pinned_upload_bytes_per_s", rounded(measured.gpu->pinned_upload)},
            {"pageable_upload_bytes_per_s", rounded(measured.gpu->pageable_upload)},
            {"staged_upload_bytes_per_s", rounded(measured.gpu->staged_upload)},
            {"shared_upload_bytes_per_s", rounded(measured.gpu->shared_upload)},
            {"shared_dram_read_bytes_per_s", rounded(measured.gpu->shared_dram_read)},
            {"shared_staged_upload_bytes_per_s", rounded(measured.gpu->shared_staged_upload)},
            {"shared_staged_dram_read_bytes_per_s", rounded(measured.gpu->shared_staged_dram_read)},
            {"vram_copy_bytes_per_s", rounded(measured.gpu->vram_copy)},
            {"hand_over_s", rounded(measured.gpu->hand_over_s)}};
    return json;
}

MachineMeasurements read_measured(const Reader& json, std::int64_t version) {
    MachineMeasurements measured;
    measured.expert_bytes = json.whole("expert_bytes", 0, kMostInt64);
    measured.ssd_read = json.number("ssd_read_bytes_per_s");
    json.each("threads", [&](const Reader& point) {
        measured.threads.push_back({static_cast<int>(point.whole("n", 1, kMostThreads)),
                                    point.number("dram_read_bytes_per_s"), point.number("expert_s")});
    });
    json.each("experts", [&](const Reader& point) {
        measured.experts.push_back(
            {static_cast<int>(point.whole("tokens", 1, kMostBatch)), point.number("expert_s")});
    });
    json.each("decodes", [&](const Reader& point) {
        measured.decodes.push_back(
            {static_cast<int>(point.whole("threads", 1, kMostThreads)), point.number("tokens_per_s")});
    });
    if (json.has("gpu")) {
        const Reader gpu = json.object("gpu");
        measured.gpu = GpuMeasurements{.pinned_upload = gpu.number("pinned_upload_bytes_per_s"),
                                       .pageable_upload = gpu.number("pageable_upload_bytes_per_s"),
                                       .shared_upload = gpu.number("shared_upload_bytes_per_s"),
                                       .shared_dram_read = gpu.number("shared_dram_read_bytes_per_s"),
                                       .vram_copy = gpu.number("vram_copy_bytes_per_s"),
                                       .hand_over_s = gpu.number("hand_over_s")};
        if (version >= 2) {
            measured.gpu->staged_upload = gpu.number("staged_upload_bytes_per_s");
            measured.gpu->shared_staged_upload = gpu.number("shared_staged_upload_bytes_per_s");
            measured.gpu->shared_staged_dram_read = gpu.number("shared_staged_dram_read_bytes_per_s");
        }
    }
    return measured;
}

}  // namespace

ProfileKey profile_key(const quant::Gguf& gguf) {
    ProfileKey key;
    const quant::GgufValue* name = gguf.find("general.name");
    const auto text = name == nullptr ? std::nullopt : name->as_string();
    key.model =
        text && !text->empty() ? std::string(*text) : std::filesystem::path(gguf.path()).filename().string();
    key.file_bytes = gguf.file_bytes();
    Hash hash;
    for (const quant::GgufEntry& entry : gguf.entries()) {
        hash.add(entry.key);
        add(hash, entry.value);
    }
    for (const quant::GgufTensor& tensor : gguf.tensors()) {
        hash.add(tensor.name);
        hash.add(static_cast<std::uint64_t>(tensor.view.type));
        for (const std::int64_t n : tensor.view.shape) hash.add(static_cast<std::uint64_t>(n));
        hash.add(tensor.part);
        hash.add(tensor.file_offset);
    }
    key.metadata_hash = hash.value();
    const cpu::Topology topology = cpu::read_topology();
    const int most = topology.cpu_quota > 0 ? topology.cpu_quota : topology.n_threads;
    key.cpu = topology.cpu_name;
    key.n_cores = std::min(topology.n_cores, most);
    key.n_threads = std::min(topology.n_threads, most);
    key.gpu = installed_gpus();
    return key;
}

std::string profile_file_name(const ProfileKey& key) {
    constexpr std::size_t kMostNameChars = 60;
    std::string name;
    for (const char c : key.model.substr(0, kMostNameChars)) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x80 && std::isalnum(byte) != 0)
            name += static_cast<char>(std::tolower(byte));
        else if (!name.empty() && name.back() != '-')
            name += '-';
    }
    Hash hash;
    hash.add(key.model);
    hash.add(key.file_bytes);
    hash.add(key.metadata_hash);
    hash.add(key.cpu);
    hash.add(static_cast<std::uint64_t>(key.n_cores));
    hash.add(static_cast<std::uint64_t>(key.n_threads));
    hash.add(key.gpu);
    return fmt::format("{}{}{:016x}.json", name, name.empty() || name.back() == '-' ? "" : "-", hash.value());
}

std::string to_json(const Profile& profile) {
    const ProfileKey& key = profile.key;
    const ordered_json json{
        {"version", Profile::kVersion},
        {"made", profile.made},
        {"for",
         {{"model", key.model},
          {"file_bytes", key.file_bytes},
          {"metadata_hash", fmt::format("{:016x}", key.metadata_hash)},
          {"cpu", key.cpu},
          {"cores", key.n_cores},
          {"hardware_threads", key.n_threads},
          {"gpu", key.gpu}}},
        {"chosen",
         {{"threads", profile.tuning.n_threads},
          {"batch_tokens", profile.tuning.batch_tokens},
          {"upload_share", rounded(profile.tuning.gpu.upload_share)},
          {"crossover_tokens", rounded(profile.tuning.gpu.crossover_tokens)},
          {"staged_upload_share", rounded(profile.tuning.gpu.staged_upload_share)},
          {"staged_crossover_tokens", rounded(profile.tuning.gpu.staged_crossover_tokens)}}},
        {"measured", measured_json(profile.measured)}};
    // A model's name may be no UTF-8.
    return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

Profile parse_profile(std::string_view text, const std::string& name) {
    const ordered_json json = ordered_json::parse(text, nullptr, false);
    if (json.is_discarded())
        fail(ErrorKind::bad_input, "{}: is no JSON, or cut off. Run `greenroom tune` again", name);
    const Reader file(json, "", name);
    const std::int64_t version = file.whole("version", 1, kMostInt64);
    if (version > Profile::kVersion)
        fail(ErrorKind::bad_input,
             "{}: is of version {}; this program reads up to version {}. Run `greenroom tune` again", name,
             version, Profile::kVersion);
    Profile profile;
    profile.made = file.text("made");
    const Reader key = file.object("for");
    profile.key = {.model = key.text("model"),
                   .file_bytes = static_cast<std::uint64_t>(key.whole("file_bytes", 0, kMostInt64)),
                   .metadata_hash = key.hex("metadata_hash"),
                   .cpu = key.text("cpu"),
                   .n_cores = static_cast<int>(key.whole("cores", 1, 1 << 20)),
                   .n_threads = static_cast<int>(key.whole("hardware_threads", 1, 1 << 20)),
                   .gpu = key.text("gpu")};
    const Reader chosen = file.object("chosen");
    profile.tuning = {.n_threads = static_cast<int>(chosen.whole("threads", 1, kMostThreads)),
                      .batch_tokens = chosen.whole("batch_tokens", 1, kMostBatch),
                      .gpu = {.upload_share = chosen.number("upload_share", 1),
                              .crossover_tokens = chosen.number("crossover_tokens")}};
    // Where it does not know them, as what is pinned.
    GpuTuning& gpu = profile.tuning.gpu;
    gpu.staged_upload_share = version >= 2 ? chosen.number("staged_upload_share", 1) : gpu.upload_share;
    gpu.staged_crossover_tokens =
        version >= 2 ? chosen.number("staged_crossover_tokens") : gpu.crossover_tokens;
    profile.measured = read_measured(file.object("measured"), version);
    return profile;
}

void check_profile_is_for(const Profile& profile, const ProfileKey& key, const std::string& name) {
    const auto compare = [&](std::string_view what, const auto& found, const auto& expected) {
        if (found != expected)
            fail(ErrorKind::bad_input, "{}: is for {} {}; here it is {}. Run `greenroom tune`", name, what,
                 found, expected);
    };
    const ProfileKey& own = profile.key;
    compare("a file of bytes:", own.file_bytes, key.file_bytes);
    compare("metadata with the hash", fmt::format("{:016x}", own.metadata_hash),
            fmt::format("{:016x}", key.metadata_hash));
    compare("the CPU", own.cpu, key.cpu);
    compare("a number of cores:", own.n_cores, key.n_cores);
    compare("a number of hardware threads:", own.n_threads, key.n_threads);
    compare("the GPU", own.gpu.empty() ? "none" : own.gpu, key.gpu.empty() ? "none" : key.gpu);
}

}  // namespace greenroom::runtime
