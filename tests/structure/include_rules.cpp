#include "tests/structure/include_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>

namespace greenroom::test {
namespace {

// The arrows: tools → runtime → {cpu, gpu, cache} → quant.
struct Layer {
    std::string_view name;
    std::vector<std::string_view> may_include;
};

const std::vector<Layer>& layers() {
    static const std::vector<Layer> all = {
        {"quant", {"quant"}},
        {"cpu", {"cpu", "quant"}},
        {"gpu", {"gpu", "quant"}},
        {"cache", {"cache", "quant"}},
        {"runtime", {"runtime", "cpu", "gpu", "cache", "quant"}},
        {"tools", {"tools", "runtime", "cpu", "gpu", "cache", "quant"}},
    };
    return all;
}

const Layer* find_layer(std::string_view name) {
    const auto found = std::find_if(layers().begin(), layers().end(),
                                    [name](const Layer& layer) { return layer.name == name; });
    return found == layers().end() ? nullptr : &*found;
}

// Libraries that stay behind our own interfaces: their headers are for .cpp, .cu and .cuh files only.
constexpr std::array<std::string_view, 15> kHiddenLibraries = {
    "boost/",   "cublas",   "cuda",  "curand", "dnnl",    "httplib", "hwloc",    "histedit",
    "liburing", "mimalloc", "mma.h", "omp.h",  "oneapi/", "pcre2",   "utf8proc",
};

// What compilers of CUDA read, and the emulation in tests.
bool is_device_code(std::string_view path) { return path.ends_with(".cu") || path.ends_with(".cuh"); }

struct Include {
    std::string_view name;
    bool quoted = false;
};

// The name in `#include "name"` or `#include <name>`; empty for any other line.
std::optional<Include> parse_include(std::string_view line) {
    const auto skip_blanks = [&line] {
        line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    };
    skip_blanks();
    if (!line.starts_with('#')) return std::nullopt;
    line.remove_prefix(1);
    skip_blanks();
    constexpr std::string_view kWord = "include";
    if (!line.starts_with(kWord)) return std::nullopt;
    line.remove_prefix(kWord.size());
    skip_blanks();
    if (line.empty() || (line.front() != '"' && line.front() != '<')) return std::nullopt;
    const bool quoted = line.front() == '"';
    const std::size_t end = line.find(quoted ? '"' : '>', 1);
    if (end == std::string_view::npos) return std::nullopt;
    return Include{line.substr(1, end - 1), quoted};
}

std::string_view first_folder(std::string_view path) {
    const std::size_t slash = path.find('/');
    return slash == std::string_view::npos ? std::string_view{} : path.substr(0, slash);
}

// The rule that this include breaks, or nothing.
std::optional<std::string> broken_rule(const Layer& layer, std::string_view path, const Include& include) {
    const std::string_view target = first_folder(include.name);
    const bool ours = find_layer(target) != nullptr || target == "tests";
    if (include.quoted && !ours) return "name our own headers from the root of the tree, and others in <>";
    if (ours &&
        std::find(layer.may_include.begin(), layer.may_include.end(), target) == layer.may_include.end())
        return fmt::format("{}/ may include {}/ only", layer.name, fmt::join(layer.may_include, "/, "));
    if (ours && path.starts_with("quant/base/") && !include.name.starts_with("quant/base/") &&
        include.name != "quant/types.h")
        return "quant/base/ may include quant/base/ and quant/types.h only";
    if (ours && include.name.ends_with(".cuh") && !is_device_code(path))
        return "headers of device code are for .cu and .cuh files only";
    const bool hidden =
        std::any_of(kHiddenLibraries.begin(), kHiddenLibraries.end(),
                    [&](std::string_view library) { return include.name.starts_with(library); });
    if (!ours && hidden && path.ends_with(".h")) return "this library's types stay in .cpp and .cu files";
    if (!ours && hidden && path.ends_with(".cu")) return "kernels are written with what gpu/*.cuh offer";
    return std::nullopt;
}

// Words that a kernel file may not contain, and what to say instead.
struct Forbidden {
    std::string_view word;
    std::string_view instead;
};
constexpr Forbidden kForbiddenInKernels[] = {
    {"<<<", "launch()"},
    {"__CUDACC__", "a wrapper in gpu/*.cuh"},
    {"__CUDA_ARCH__", "a wrapper in gpu/*.cuh"},
    {"GREENROOM_CUDA_EMULATION", "a wrapper in gpu/*.cuh"},
    {"asm", "a wrapper in gpu/*.cuh"},
    {"__shfl", "shuffle(), shuffle_xor() …"},
    {"__ballot", "ballot()"},
    {"__dp4a", "dot4()"},
    {"extern __shared__", "shared_memory()"},
};

bool is_word_character(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// Is there `word` in the line, before a comment, and not as the end of a longer name?
bool contains_word(std::string_view line, std::string_view word) {
    line = line.substr(0, line.find("//"));
    for (std::size_t at = line.find(word); at != std::string_view::npos; at = line.find(word, at + 1)) {
        const bool begins = !is_word_character(word.front()) || at == 0 || !is_word_character(line[at - 1]);
        const std::size_t end = at + word.size();
        const bool ends = word != "asm" || end == line.size() || !is_word_character(line[end]);
        if (begins && ends) return true;
    }
    return false;
}

}  // namespace

std::vector<std::string> broken_kernel_rules(std::string_view path, std::string_view text) {
    std::vector<std::string> broken;
    if (!path.starts_with("gpu/") || !path.ends_with(".cu")) return broken;
    for (int line_number = 1; !text.empty(); ++line_number) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        for (const Forbidden& forbidden : kForbiddenInKernels)
            if (contains_word(line, forbidden.word))
                broken.push_back(
                    fmt::format("{}:{}: {}: use {}", path, line_number, forbidden.word, forbidden.instead));
    }
    return broken;
}

std::vector<std::string> broken_include_rules(std::string_view path, std::string_view text) {
    const Layer* layer = find_layer(first_folder(path));
    if (layer == nullptr) return {};
    std::vector<std::string> broken;
    for (int line_number = 1; !text.empty(); ++line_number) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        const std::optional<Include> include = parse_include(line);
        if (!include) continue;
        if (const std::optional<std::string> rule = broken_rule(*layer, path, *include))
            broken.push_back(fmt::format("{}:{}: includes {}: {}", path, line_number, include->name, *rule));
    }
    return broken;
}

}  // namespace greenroom::test
