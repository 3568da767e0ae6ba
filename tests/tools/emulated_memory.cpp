// Linked into a program whose GPU is the emulated one: GREENROOM_EMULATED_VRAM says how many bytes of memory
// it has; 0 is no GPU. GREENROOM_EMULATED_PINNED says how many bytes of RAM can be pinned.

#include "tests/gpu/emulation/control.h"

#include <cstdint>
#include <cstdlib>

namespace {

bool set_from(const char* name, void (*set)(std::int64_t)) {
    const char* text = std::getenv(name);
    if (text != nullptr) set(std::atoll(text));
    return text != nullptr;
}

const bool is_set = set_from("GREENROOM_EMULATED_VRAM", greenroom::emulation::set_vram_bytes) |
                    set_from("GREENROOM_EMULATED_PINNED", greenroom::emulation::set_pinned_limit_bytes);

}  // namespace
