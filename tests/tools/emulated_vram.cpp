// Linked into a program whose GPU is the emulated one: GREENROOM_EMULATED_VRAM says how many bytes of memory
// it has; 0 is no GPU.

#include "tests/gpu/emulation/control.h"

#include <cstdlib>

namespace {

const bool is_set = [] {
    const char* text = std::getenv("GREENROOM_EMULATED_VRAM");
    if (text != nullptr) greenroom::emulation::set_vram_bytes(std::atoll(text));
    return text != nullptr;
}();

}  // namespace
