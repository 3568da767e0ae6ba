#include "runtime/text/nfc.h"

#include "quant/base/error.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace greenroom::text {

bool may_need_nfc(std::string_view utf8) noexcept {
    // Nothing below U+0300, the first combining mark, changes or combines; U+0300 is CC 80, and no byte below
    // CC begins a character above it.
    return std::any_of(utf8.begin(), utf8.end(), [](char c) { return static_cast<std::uint8_t>(c) >= 0xCC; });
}

std::string to_nfc(std::string_view utf8) {
    utf8proc_uint8_t* out = nullptr;
    const utf8proc_ssize_t size = utf8proc_map(
        reinterpret_cast<const utf8proc_uint8_t*>(utf8.data()), static_cast<utf8proc_ssize_t>(utf8.size()),
        &out, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    if (size < 0) {
        fail(size == UTF8PROC_ERROR_NOMEM ? ErrorKind::out_of_memory : ErrorKind::internal,
             "normalizing a text of {} bytes to NFC failed: {}", utf8.size(), utf8proc_errmsg(size));
    }
    const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(out, &std::free);
    return std::string(reinterpret_cast<const char*>(out), static_cast<std::size_t>(size));
}

}  // namespace greenroom::text
