// AMX for programs that run where there is none: linked into a test program, it takes the place of
// cpu/amx_permission.cpp, says yes and carries out, in a handler of the signal that a CPU without tiles
// raises, the instructions of cpu/amx_tiles.h, as they stand in the kernels' machine code. What those
// instructions would refuse (Intel SDM, volume 2: shapes that do not fit, tiles that are not configured)
// stays the illegal instruction that it is. A CPU that has tiles raises the same signal as long as the
// process has not asked for them, and nothing asks here.
//
// Encodings: Intel SDM, volume 2, chapter 2 (VEX, ModR/M, SIB) and the pages of the instructions.

#include "cpu/amx_permission.h"

#include <signal.h>
#include <ucontext.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace greenroom::cpu {
namespace {

constexpr int kTiles = 8;
constexpr int kMostLines = 16;
constexpr int kMostLineBytes = 64;

// The memory operand of LDTILECFG.
struct TileShapes {
    std::uint8_t palette;
    std::uint8_t start_row;
    std::uint8_t reserved[14];
    std::uint16_t line_bytes[16];
    std::uint8_t lines[16];
};
static_assert(sizeof(TileShapes) == 64);

struct TileState {
    TileShapes shapes{};
    std::uint8_t tiles[kTiles][kMostLines][kMostLineBytes]{};
};
thread_local TileState state;

// An instruction under a three-byte VEX prefix in the opcode map 0F38.
class Instruction {
  public:
    explicit Instruction(const mcontext_t& registers) noexcept : registers_(registers) {
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(registers.gregs[REG_RIP]);
        constexpr std::uint8_t kVex3 = 0xc4;
        constexpr std::uint8_t kMap0F38 = 2;
        // Neither W nor 256 bits.
        known_ = bytes[0] == kVex3 && (bytes[1] & 0x1f) == kMap0F38 && (bytes[2] & 0x84) == 0;
        if (!known_) return;
        index_high_ = (~bytes[1] >> 6 & 1) * 8;
        base_high_ = (~bytes[1] >> 5 & 1) * 8;
        prefix = bytes[2] & 3;
        third = ~bytes[2] >> 3 & 15;
        opcode = bytes[3];
        mode = bytes[4] >> 6;
        first = bytes[4] >> 3 & 7;
        second = bytes[4] & 7;
        const std::uint8_t* at = bytes + 5;
        if (!is_register()) at = find_address(at);
        n_bytes = at - bytes;
    }

    bool known() const noexcept { return known_; }
    bool is_register() const noexcept { return mode == 3; }
    // What a memory operand gives; of tiles, the bytes from line to line too.
    std::uint8_t* address() const noexcept { return reinterpret_cast<std::uint8_t*>(address_); }
    std::int64_t stride() const noexcept { return stride_; }

    int prefix = 0;  // 0 none, 1 of 66, 2 of F3, 3 of F2
    int opcode = 0;
    int mode = 0;
    int first = 0;   // ModRM.reg
    int second = 0;  // ModRM.r/m
    int third = 0;   // VEX.vvvv
    std::ptrdiff_t n_bytes = 0;

  private:
    std::int64_t register_value(int number) const noexcept {
        constexpr std::array kOrder{REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
        return registers_.gregs[kOrder[static_cast<std::size_t>(number)]];
    }

    // Returns the instruction's end.
    const std::uint8_t* find_address(const std::uint8_t* at) noexcept {
        constexpr int kSib = 4;
        constexpr int kNoBase = 5;
        constexpr int kNoIndex = 4;
        int base = second;
        if (second == kSib) {
            const std::uint8_t sib = *at++;
            base = sib & 7;
            const int index = (sib >> 3 & 7) + index_high_;
            if (index != kNoIndex) stride_ = register_value(index) << (sib >> 6);
        }
        const bool no_base = base == kNoBase && mode == 0;
        if (!no_base) address_ = register_value(base + base_high_);
        if (mode == 1) {
            address_ += static_cast<std::int8_t>(*at++);
        } else if (mode == 2 || no_base) {
            std::int32_t displacement = 0;
            std::memcpy(&displacement, at, sizeof displacement);
            at += sizeof displacement;
            address_ += displacement;
        }
        if (no_base && second != kSib) address_ += reinterpret_cast<std::int64_t>(at);  // of the next one
        return at;
    }

    const mcontext_t& registers_;
    bool known_ = false;
    int index_high_ = 0;
    int base_high_ = 0;
    std::int64_t address_ = 0;
    std::int64_t stride_ = 0;
};

int lines_of(int tile) noexcept { return state.shapes.lines[tile]; }
int line_bytes_of(int tile) noexcept { return state.shapes.line_bytes[tile]; }

bool is_configured(int tile) noexcept {
    return state.shapes.palette == 1 && tile < kTiles && lines_of(tile) > 0 && line_bytes_of(tile) > 0;
}

bool configure(const std::uint8_t* from) noexcept {
    TileShapes shapes;
    std::memcpy(&shapes, from, sizeof shapes);
    if (shapes.palette > 1) return false;
    for (const std::uint8_t byte : shapes.reserved)
        if (byte != 0) return false;
    for (int t = 0; t < 16; ++t) {
        if (shapes.lines[t] > kMostLines || shapes.line_bytes[t] > kMostLineBytes) return false;
        if (t >= kTiles && (shapes.lines[t] != 0 || shapes.line_bytes[t] != 0)) return false;
    }
    state = {};
    state.shapes = shapes;
    return true;
}

bool clear(int tile) noexcept {
    if (!is_configured(tile)) return false;
    std::memset(state.tiles[tile], 0, sizeof state.tiles[tile]);
    return true;
}

bool load(int tile, const std::uint8_t* from, std::int64_t stride) noexcept {
    if (!clear(tile)) return false;
    for (int r = 0; r < lines_of(tile); ++r)
        std::memcpy(state.tiles[tile][r], from + r * stride, static_cast<std::size_t>(line_bytes_of(tile)));
    return true;
}

bool store(int tile, std::uint8_t* to, std::int64_t stride) noexcept {
    if (!is_configured(tile)) return false;
    for (int r = 0; r < lines_of(tile); ++r)
        std::memcpy(to + r * stride, state.tiles[tile][r], static_cast<std::size_t>(line_bytes_of(tile)));
    return true;
}

// sums[r][n] += Σ_i left[r][i] · right[i / 4][4 n + i % 4]
bool add_products(int sums, int left, int right, bool left_signed, bool right_signed) noexcept {
    if (!is_configured(sums) || !is_configured(left) || !is_configured(right)) return false;
    if (sums == left || sums == right || left == right) return false;
    if (lines_of(sums) != lines_of(left) || line_bytes_of(sums) != line_bytes_of(right) ||
        line_bytes_of(left) != 4 * lines_of(right))
        return false;
    const auto value = [](std::uint8_t byte, bool is_signed) noexcept {
        return is_signed ? static_cast<std::int8_t>(byte) : static_cast<int>(byte);
    };
    for (int r = 0; r < lines_of(sums); ++r)
        for (int n = 0; n < line_bytes_of(sums) / 4; ++n) {
            std::uint32_t sum = 0;  // which may wrap
            std::memcpy(&sum, &state.tiles[sums][r][4 * n], sizeof sum);
            for (int i = 0; i < line_bytes_of(left); ++i)
                sum +=
                    static_cast<std::uint32_t>(value(state.tiles[left][r][i], left_signed) *
                                               value(state.tiles[right][i / 4][4 * n + i % 4], right_signed));
            std::memcpy(&state.tiles[sums][r][4 * n], &sum, sizeof sum);
        }
    return true;
}

// Returns whether it was carried out.
bool execute(const Instruction& instruction) noexcept {
    constexpr int kConfiguration = 0x49;
    constexpr int kMemory = 0x4b;
    constexpr int kByteProducts = 0x5e;
    constexpr int kF3 = 2;
    constexpr int kF2 = 3;
    switch (instruction.opcode) {
        case kConfiguration:
            if (!instruction.is_register())
                return instruction.prefix == 0 && instruction.first == 0 && configure(instruction.address());
            if (instruction.prefix == kF2) return clear(instruction.first);
            if (instruction.prefix != 0) return false;
            state = {};  // TILERELEASE
            return true;
        case kMemory:
            if (instruction.is_register()) return false;
            if (instruction.prefix == kF3)
                return store(instruction.first, instruction.address(), instruction.stride());
            return instruction.prefix == kF2 &&
                   load(instruction.first, instruction.address(), instruction.stride());
        case kByteProducts:
            return instruction.is_register() &&
                   add_products(instruction.first, instruction.second, instruction.third,
                                instruction.prefix >= kF3, instruction.prefix % 2 != 0);
        default:
            return false;
    }
}

void on_illegal_instruction(int signal, siginfo_t* /*info*/, void* context) noexcept {
    auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext;
    const Instruction instruction(registers);
    if (instruction.known() && execute(instruction))
        registers.gregs[REG_RIP] += instruction.n_bytes;
    else
        ::signal(signal, SIG_DFL);  // comes again
}

}  // namespace

bool request_amx() noexcept {
    static const bool installed = [] {
        struct sigaction action {};
        action.sa_sigaction = on_illegal_instruction;
        action.sa_flags = SA_SIGINFO;
        return ::sigaction(SIGILL, &action, nullptr) == 0;
    }();
    return installed;
}

}  // namespace greenroom::cpu
