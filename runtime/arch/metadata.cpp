#include "runtime/arch/metadata.h"

#include "quant/base/error.h"

namespace greenroom::runtime {
namespace {

int checked(const quant::Gguf& gguf, const std::string& key, std::uint64_t value, std::uint64_t least,
            std::uint64_t most) {
    if (value < least || value > most)
        fail(ErrorKind::bad_input, "{}: metadata {}: found {}, expected {} to {}", gguf.path(), key, value,
             least, most);
    return static_cast<int>(value);
}

}  // namespace

int ArchMetadata::require_int(std::string_view key, std::uint64_t least, std::uint64_t most) const {
    return checked(gguf_, full(key), gguf_.require_uint(full(key)), least, most);
}

int ArchMetadata::find_int(std::string_view key, int fallback, std::uint64_t least,
                           std::uint64_t most) const {
    const auto value = gguf_.find_uint(full(key));
    return value ? checked(gguf_, full(key), *value, least, most) : fallback;
}

float ArchMetadata::find_float(std::string_view key, float fallback, double least, double most) const {
    const auto value = gguf_.find_double(full(key));
    if (!value) return fallback;
    if (!(*value >= least && *value <= most))  // false for NaN, too
        fail(ErrorKind::bad_input, "{}: metadata {}: found {}, expected {} to {}", gguf_.path(), full(key),
             *value, least, most);
    return static_cast<float>(*value);
}

bool ArchMetadata::find_bool(std::string_view key, bool fallback) const {
    return gguf_.find_bool(full(key)).value_or(fallback);
}

std::vector<bool> ArchMetadata::find_bools(std::string_view key, int n) const {
    const quant::GgufArray* array = gguf_.find_array(full(key));
    if (array == nullptr) return {};
    if (array->size() < static_cast<std::size_t>(n))
        fail(ErrorKind::bad_input, "{}: metadata {}: a list of {}, expected at least {}", gguf_.path(),
             full(key), array->size(), n);
    std::vector<bool> values;
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
        const std::optional<bool> value = (*array)[i].as_bool();
        if (!value)
            fail(ErrorKind::bad_input,
                 "{}: metadata {}: a list of another type, expected one of truth values", gguf_.path(),
                 full(key));
        values.push_back(*value);
    }
    return values;
}

std::optional<std::string_view> ArchMetadata::find_string(std::string_view key) const {
    return gguf_.find_string(full(key));
}

void ArchMetadata::unsupported(std::string_view key, std::string_view found,
                               std::string_view expected) const {
    fail(ErrorKind::unsupported, "{}: metadata {}: found {}, expected {}", gguf_.path(), full(key), found,
         expected);
}

}  // namespace greenroom::runtime
