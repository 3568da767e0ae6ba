#include "cache/trace.h"

#include "cache/npy.h"
#include "quant/base/error.h"
#include "quant/half.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace greenroom::cache {
namespace {

namespace fs = std::filesystem;

// More than any model has; keeps products of the sizes far from overflow.
constexpr std::int64_t kMostLayers = 4096;
constexpr std::int64_t kMostExperts = 65535;
constexpr std::int64_t kMostTokens = 1'000'000'000;

constexpr std::array<std::string_view, 9> kFiles{"trace.json",      "experts.npy",     "weights.npy",
                                                 "sequence.npy",    "phase.npy",       "scores.npy",
                                                 "predicted_1.npy", "predicted_2.npy", "predicted_3.npy"};

std::string file_in(const std::string& folder, std::string_view name) {
    return (fs::path(folder) / name).string();
}

// Of the predictions at distance i + 1.
std::string_view predicted_name(std::size_t i) { return kFiles[kFiles.size() - Trace::kMostDistance + i]; }

std::int64_t read_size(const nlohmann::json& json, const std::string& path, const char* key,
                       std::int64_t most) {
    const auto found = json.is_object() ? json.find(key) : json.end();
    const bool is_number = json.is_object() && found != json.end() && found->is_number_unsigned();
    if (!is_number || *found < 1 || *found > most)
        fail(ErrorKind::bad_input, "{}: found {} = {}, expected a whole number from 1 to {}", path, key,
             json.is_object() && found != json.end() ? found->dump() : "nothing", most);
    return *found;
}

void read_sizes(Trace& trace, const std::string& path) {
    std::ifstream in(path);
    if (!in) fail(ErrorKind::io, "{}: cannot be read. A trace is a folder with this file in it", path);
    nlohmann::json json = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
    trace.n_tokens = read_size(json, path, "tokens", kMostTokens);
    trace.n_layers = static_cast<int>(read_size(json, path, "layers", kMostLayers));
    trace.n_experts = static_cast<int>(read_size(json, path, "n_expert", kMostExperts));
    trace.top_k = static_cast<int>(read_size(json, path, "k", trace.n_experts));
}

// Empty if the file is missing and may be.
enum class Need { required, optional };
template <class T>
std::vector<T> read_values(const std::string& folder, std::string_view name, const char* descr,
                           std::initializer_list<std::int64_t> shape, Need need) {
    const std::string path = file_in(folder, name);
    if (need == Need::optional && !fs::exists(path)) return {};
    NpyArray<T> array = read_npy<T>(path, descr);
    if (!std::equal(array.shape.begin(), array.shape.end(), shape.begin(), shape.end()))
        fail(ErrorKind::bad_input, "{}: found an array of shape ({}), expected ({}), as trace.json says",
             path, fmt::join(array.shape, ", "), fmt::join(shape, ", "));
    return std::move(array.values);
}

// Every row holds distinct experts of the layer, or nothing but kAbsent.
void check_experts(const Trace& trace, const std::vector<std::uint16_t>& values, const std::string& path) {
    std::vector<std::int64_t> seen(static_cast<std::size_t>(trace.n_experts), -1);
    const std::int64_t n_rows = trace.n_tokens * trace.n_layers;
    for (std::int64_t r = 0; r < n_rows; ++r) {
        const auto first = values.begin() + r * trace.top_k;
        const auto is_absent = [](std::uint16_t value) { return value == Trace::kAbsent; };
        if (std::all_of(first, first + trace.top_k, is_absent)) continue;
        for (auto i = first; i != first + trace.top_k; ++i) {
            const auto [token, layer] = std::div(r, std::int64_t{trace.n_layers});
            if (*i >= trace.n_experts)
                fail(ErrorKind::bad_input, "{}: token {}, layer {}: found expert {}, expected less than {}",
                     path, token, layer, *i, trace.n_experts);
            if (seen[*i] == r)
                fail(ErrorKind::bad_input,
                     "{}: token {}, layer {}: found expert {} twice, expected {} different ones", path, token,
                     layer, *i, trace.top_k);
            seen[*i] = r;
        }
    }
}

}  // namespace

Trace read_trace(const std::string& folder) {
    Trace trace;
    trace.name = fs::path(folder).lexically_normal().filename().string();
    if (trace.name.empty())
        trace.name = fs::path(folder).lexically_normal().parent_path().filename().string();
    read_sizes(trace, file_in(folder, "trace.json"));
    const std::int64_t t = trace.n_tokens;
    const std::int64_t l = trace.n_layers;
    const std::int64_t k = trace.top_k;
    trace.experts = read_values<std::uint16_t>(folder, "experts.npy", "<u2", {t, l, k}, Need::required);
    check_experts(trace, trace.experts, file_in(folder, "experts.npy"));
    for (const std::uint16_t bits :
         read_values<std::uint16_t>(folder, "weights.npy", "<f2", {t, l, k}, Need::optional)) {
        const float weight = quant::f16_to_f32(bits);
        trace.weights.push_back(std::isfinite(weight) ? weight : 0.0F);
    }
    trace.sequence = read_values<std::int32_t>(folder, "sequence.npy", "<i4", {t}, Need::optional);
    trace.phase = read_values<std::uint8_t>(folder, "phase.npy", "|u1", {t}, Need::optional);
    if (trace.sequence.empty()) trace.sequence.resize(static_cast<std::size_t>(t), 0);
    if (trace.phase.empty()) trace.phase.resize(static_cast<std::size_t>(t), 1);
    trace.scores =
        read_values<std::uint16_t>(folder, "scores.npy", "<f2", {t, l, trace.n_experts}, Need::optional);
    for (std::size_t i = 0; i < Trace::kMostDistance; ++i) {
        const std::string_view name = predicted_name(i);
        trace.predicted[i] = read_values<std::uint16_t>(folder, name, "<u2", {t, l, k}, Need::optional);
        if (!trace.predicted[i].empty()) check_experts(trace, trace.predicted[i], file_in(folder, name));
    }
    return trace;
}

std::span<const std::string_view> trace_files() noexcept { return kFiles; }

void write_trace(const std::string& folder, const Trace& trace) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) fail(ErrorKind::io, "{}: cannot create the folder: {}", folder, error.message());

    const std::vector<std::int64_t> by_token{trace.n_tokens};
    const std::vector<std::int64_t> by_call{trace.n_tokens, trace.n_layers, trace.top_k};
    const std::vector<std::int64_t> by_expert{trace.n_tokens, trace.n_layers, trace.n_experts};
    write_npy<std::uint16_t>(file_in(folder, "experts.npy"), "<u2", by_call, trace.experts);
    if (!trace.weights.empty()) {
        std::vector<std::uint16_t> halves;
        halves.reserve(trace.weights.size());
        for (const float weight : trace.weights) halves.push_back(quant::f32_to_f16(weight));
        write_npy<std::uint16_t>(file_in(folder, "weights.npy"), "<f2", by_call, halves);
    }
    write_npy<std::int32_t>(file_in(folder, "sequence.npy"), "<i4", by_token, trace.sequence);
    write_npy<std::uint8_t>(file_in(folder, "phase.npy"), "|u1", by_token, trace.phase);
    if (!trace.scores.empty())
        write_npy<std::uint16_t>(file_in(folder, "scores.npy"), "<f2", by_expert, trace.scores);
    for (std::size_t i = 0; i < Trace::kMostDistance; ++i)
        if (!trace.predicted[i].empty())
            write_npy<std::uint16_t>(file_in(folder, predicted_name(i)), "<u2", by_call, trace.predicted[i]);

    // Last: a folder without it is no trace.
    const std::string path = file_in(folder, "trace.json");
    std::ofstream out(path);
    out << nlohmann::ordered_json{{"tokens", trace.n_tokens},
                                  {"layers", trace.n_layers},
                                  {"k", trace.top_k},
                                  {"n_expert", trace.n_experts}}
               .dump()
        << "\n";
    out.close();
    if (!out)
        fail(ErrorKind::io, "{}: cannot be written. Is there room on the disk, and may you write here?",
             path);
}

}  // namespace greenroom::cache
