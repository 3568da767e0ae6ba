// libFuzzer target: any bytes at all are either a GGUF image, whose every part can then be read, or refused
// with an Error. Run it with `tools/dev fuzz`; corpus_test.cpp replays the seeds in every build.

#include "quant/base/error.h"
#include "quant/gguf.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace greenroom::quant {
namespace {

// The sum of everything that was read, kept where the compiler has to compute it.
volatile std::uint64_t g_sum;

std::uint64_t sum(std::string_view text) {
    std::uint64_t total = 0;
    for (const char c : text) total += static_cast<unsigned char>(c);
    return total;
}

std::uint64_t sum(const GgufArray& array);

std::uint64_t sum(const GgufValue& value) {
    std::uint64_t total = sum(gguf_type_name(value.type()));
    total += value.as_uint().value_or(1);
    total += static_cast<std::uint64_t>(value.as_int().value_or(1));
    total += value.as_double().value_or(1) > 0 ? 1 : 0;
    total += value.as_bool().value_or(true) ? 1 : 0;
    total += sum(value.as_string().value_or(""));
    if (const GgufArray* array = value.as_array()) total += sum(*array);
    return total;
}

std::uint64_t sum(const GgufArray& array) {
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < array.size(); ++i) total += sum(array[i]);
    return total;
}

std::uint64_t sum(const GgufTensor& tensor) {
    std::uint64_t total = sum(tensor.name);
    const std::int64_t bytes = tensor.view.bytes();
    if (bytes == 0) return total;
    total += static_cast<std::uint64_t>(tensor.view.data[0]);
    total += static_cast<std::uint64_t>(tensor.view.data[bytes - 1]);
    return total;
}

void read_everything(const Gguf& gguf) {
    std::uint64_t total = 0;
    for (const GgufEntry& entry : gguf.entries()) {
        total += sum(entry.key) + sum(entry.value);
        if (gguf.find(entry.key) == nullptr) __builtin_trap();
    }
    for (const GgufTensor& tensor : gguf.tensors()) {
        total += sum(tensor);
        if (gguf.find_tensor(tensor.name) == nullptr) __builtin_trap();
    }
    g_sum = total;
}

}  // namespace
}  // namespace greenroom::quant

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using greenroom::quant::Gguf;
    try {
        greenroom::quant::read_everything(
            Gguf::parse(reinterpret_cast<const std::byte*>(data), size, "fuzz"));
    } catch (const greenroom::Error& error) {
        // Hostile bytes are bad or unsupported input; never a defect of ours or the system's fault.
        const bool refused = error.kind() == greenroom::ErrorKind::bad_input ||
                             error.kind() == greenroom::ErrorKind::unsupported;
        if (!refused) __builtin_trap();
    }
    return 0;
}
