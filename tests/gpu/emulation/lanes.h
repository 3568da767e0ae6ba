#pragma once

// The lanes of a block: a fiber for each that waits, all on one thread of the host.
//
// A block's lanes run one after the other, each until it waits for others or ends; what runs next is decided
// by the lane order (control.h). Correct kernels give the same result in any order, and those with a barrier
// too few fail in some. Shared memory is filled with NaN before each block. A lane that never waits costs no
// switch.
//
// What no device would forgive is a fault: lanes that wait at different places, or for lanes that have
// returned; collectives of part of a warp; a kernel that spins for half a minute. The block ends there, the
// device is lost, and the message names all places.

#include <vector_types.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

struct CUstream_st;
enum cudaError : int;

namespace greenroom::emulation {

// Where a barrier or shuffle is called.
struct Place {
    const char* file;
    int line;

    constexpr Place(const char* at_file = __builtin_FILE(), int at_line = __builtin_LINE())
        : file(at_file), line(at_line) {}
};

// The place from which a helper like block_sum() was called; of nested helpers, the outermost.
struct Caller {
    const char* file = nullptr;
    int line = 0;
};
extern constinit thread_local Caller* current_caller;  // the running lane's; only set while one runs

class CallSite {
  public:
    CallSite(const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
        if (current_caller == nullptr || current_caller->file != nullptr) return;
        *current_caller = {file, line};
        owner_ = true;
    }
    ~CallSite() {
        if (owner_) current_caller->file = nullptr;
    }
    CallSite(const CallSite&) = delete;
    CallSite& operator=(const CallSite&) = delete;

  private:
    bool owner_ = false;
};

extern constinit thread_local uint3 threadIdx;
extern constinit thread_local uint3 blockIdx;
extern constinit thread_local uint3 blockDim;
extern constinit thread_local uint3 gridDim;

// ---- Called by lanes

void sync_block(Place place);

// Waits for the other lanes of the warp and returns what each of the 32 brought. Good until the lane's next
// call.
const std::uint64_t* exchange(unsigned mask, std::uint64_t value, const char* what, Place place);

template <class T>
class WarpValues {
  public:
    explicit WarpValues(const std::uint64_t* values) : values_(values) {}
    T operator[](int lane) const {
        T value;
        std::memcpy(&value, values_ + lane, sizeof(T));
        return value;
    }

  private:
    const std::uint64_t* values_;
};

template <class T>
WarpValues<T> exchange_values(unsigned mask, T value, const char* what, Place place) {
    static_assert(std::is_arithmetic_v<T>);
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    return WarpValues<T>(exchange(mask, bits, what, place));
}

// Lets others run: lanes, or threads of the host.
void nap();

// Orders what the lane did before it and after it, for all threads of the host.
void fence();

void* dynamic_shared_memory();

// cp.async: the copy happens when its group is waited for, so that reading too early finds what was there
// before.
void copy_async_16(void* shared, const void* global);
void copy_async_commit();
void copy_async_wait(int n_younger_groups);

// ---- Launches

struct Launch {
    const void* kernel = nullptr;  // for its name
    uint3 grid{};
    uint3 block{};
    std::size_t shared_bytes = 0;
    std::function<void()> lane;         // what each lane does
    std::vector<const void*> pointers;  // arguments that the kernel may follow
};

// Pointers among the arguments, and those in views, have to point into memory that the device can see.
template <class T>
void note_pointers(Launch& launch, const T& argument) {
    if constexpr (std::is_pointer_v<T>)
        launch.pointers.push_back(static_cast<const void*>(argument));
    else if constexpr (requires { static_cast<const void*>(argument.data); })
        launch.pointers.push_back(static_cast<const void*>(argument.data));
}

// Checks the sizes and puts the launch into the stream. In streams.cpp.
cudaError enqueue_kernel(Launch launch, CUstream_st* stream);

// Runs all blocks of a launch on this thread, one after the other. Returns the fault that ended it, or "".
std::string run_grid(const Launch& launch);

}  // namespace greenroom::emulation
