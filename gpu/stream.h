#pragma once

// Streams, events and graphs of the GPU, and copies in a stream's order.
//
// A Stream is a queue of work that the device takes in order; everything here but synchronize(), wait() and
// the destructors only enqueues. Streams are independent of each other (and of CUDA's default stream, which
// we don't use) except where one waits for an event of another. They belong to the device that is current
// when they are made (gpu/device.h: use_device). A Stream may be used by one thread at a time.
//
// Errors are Error{device}: of the call itself, or of work enqueued earlier that has failed since. After a
// failed kernel the device's context is lost, and every later call says so.

#include <cstddef>
#include <cstdint>
#include <memory>

// CUDA's own handles, so that nobody who includes this needs CUDA.
struct CUevent_st;
struct CUgraphExec_st;
struct CUstream_st;

namespace greenroom::gpu {

// A point in a stream's work.
class Event {
  public:
    enum class Timing { off, on };

    // Without timing an event is cheaper to record and to wait for.
    explicit Event(Timing timing = Timing::off);

    // Has the stream come to where the event was last recorded? True if it never was.
    bool done() const;
    // Returns when it has.
    void wait() const;

    CUevent_st* handle() const noexcept { return handle_.get(); }

  private:
    struct Destroy {
        void operator()(CUevent_st* event) const noexcept;
    };
    std::unique_ptr<CUevent_st, Destroy> handle_;
};

// Both events were made with Timing::on and are done.
float milliseconds_between(const Event& from, const Event& to);

class Stream {
  public:
    // Work of a high stream goes first where both could run.
    enum class Priority { normal, high };

    explicit Stream(Priority priority = Priority::normal);

    // Returns when all work enqueued so far is done.
    void synchronize();
    // Is it?
    bool idle() const;

    // The event is done when the work enqueued so far is.
    void record(Event& event);
    // What is enqueued from here on waits for the event as last recorded, in whichever stream.
    void wait(const Event& event);

    CUstream_st* handle() const noexcept { return handle_.get(); }

  private:
    struct Destroy {
        void operator()(CUstream_st* stream) const noexcept;  // waits for the stream's work
    };
    std::unique_ptr<CUstream_st, Destroy> handle_;
};

// Copies `bytes` in the stream's order. From and to pinned memory they run beside the host; pageable memory
// is allowed, and the call then takes as long as the copy. The host's side must stay as it is until the
// stream has come by.
void copy_to_device(Stream& stream, void* to, const void* from, std::int64_t bytes);
void copy_to_host(Stream& stream, void* to, const void* from, std::int64_t bytes);
void copy_on_device(Stream& stream, void* to, const void* from, std::int64_t bytes);
// Sets every byte to the low 8 bits of `value`.
void fill_bytes(Stream& stream, void* to, int value, std::int64_t bytes);

// Calls function(argument) in the stream's order, on a thread of the driver that serves all streams; it costs
// some ten microseconds for that thread to wake up. The function may neither throw nor use the GPU. It is not
// called once the device is lost.
void call_on_host(Stream& stream, void (*function)(void*), void* argument);

// A captured sequence of launches and copies that is started as one. Pointers and scalars are those of the
// capture.
class Graph {
  public:
    Graph() = default;

    explicit operator bool() const noexcept { return handle_ != nullptr; }
    // Enqueues the whole graph. It must have been captured.
    void launch(Stream& stream) const;

  private:
    friend class Capture;
    struct Destroy {
        void operator()(CUgraphExec_st* graph) const noexcept;
    };
    std::unique_ptr<CUgraphExec_st, Destroy> handle_;
};

// While it lives, what is enqueued on the stream by this thread is not run but written down. Other streams
// take part once they wait for an event recorded in this one, and must have joined again (the other way
// round) before finish(). Synchronizing and allocating are not allowed meanwhile.
class Capture {
  public:
    explicit Capture(Stream& stream);
    ~Capture();  // without finish(): drops what was captured
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;

    // Ends the capture. Costs some ms for a graph of a thousand launches.
    Graph finish();

  private:
    Stream& stream_;
    bool open_ = true;
};

}  // namespace greenroom::gpu
