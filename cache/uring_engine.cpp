#include "cache/read_engine.h"
#include "cache/signal_mask.h"
#include "cache/thread_slice.h"
#include "quant/base/error.h"

#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace greenroom::cache {
namespace {

// What an entry of the ring stands for, if not a read, whose user_data is its place in ops_.
constexpr std::uint64_t kWakeUp = ~std::uint64_t{0};
constexpr std::uint64_t kNothing = kWakeUp - 1;

constexpr std::size_t kMaxFixedBytes = std::size_t{1} << 30;  // the kernel's limit for one registered buffer

// How often submitting is tried again while the system is short of something: a second in all.
constexpr int kMaxSubmitFailures = 1000;

std::string system_message(int error_number) { return std::generic_category().message(error_number); }

// A ring that is given back; and whether it can read.
class Ring {
  public:
    explicit Ring(unsigned n_entries) {
        if (const int error = -io_uring_queue_init(n_entries, &ring_, 0); error != 0)
            fail(ErrorKind::unsupported, "io_uring: {}", system_message(error));
        io_uring_probe* probe = io_uring_get_probe_ring(&ring_);
        const bool can_read = probe != nullptr && io_uring_opcode_supported(probe, IORING_OP_READ) != 0;
        io_uring_free_probe(probe);
        if (can_read) return;
        io_uring_queue_exit(&ring_);
        fail(ErrorKind::unsupported, "io_uring: the kernel's does not read (before 5.6)");
    }
    ~Ring() { io_uring_queue_exit(&ring_); }
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    io_uring* get() noexcept { return &ring_; }

  private:
    io_uring ring_{};
};

// Written to by wake(), watched by the ring.
class WakeUp {
  public:
    WakeUp() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        const int error = errno;
        if (fd_ < 0) fail(ErrorKind::unsupported, "eventfd: {}", system_message(error));
    }
    ~WakeUp() { ::close(fd_); }
    WakeUp(const WakeUp&) = delete;
    WakeUp& operator=(const WakeUp&) = delete;
    int fd() const noexcept { return fd_; }
    // Fails only when as much is waiting already as the counter can hold.
    void set() const noexcept { static_cast<void>(::eventfd_write(fd_, 1)); }
    void clear() const noexcept {
        eventfd_t ignored = 0;
        static_cast<void>(::eventfd_read(fd_, &ignored));
    }

  private:
    int fd_;
};

class UringEngine final : public ReadEngine {
  public:
    UringEngine(ReadQueue& queue, ReadFiles& files, int depth,
                std::span<const std::span<std::byte>> fixed_memory)
        : queue_(queue),
          files_(files),
          ring_(static_cast<unsigned>(depth) + 1),  // the reads and the wake-up
          ops_(static_cast<std::size_t>(depth)) {
        for (std::size_t i = ops_.size(); i-- > 0;) free_ops_.push_back(i);
        const std::span<const int> fds = files.descriptors();
        const int error =
            -io_uring_register_files(ring_.get(), fds.data(), static_cast<unsigned>(fds.size()));
        files_registered_ = error == 0;
        description_ = fmt::format("io_uring, {} reads in flight, ", depth);
        description_ += files_registered_ ? "registered files, "
                                          : fmt::format("files not registered ({}), ", system_message(error));
        register_memory(fixed_memory);
        const SignalsBlocked blocked;
        thread_ = std::thread([this]() noexcept { serve(); });
    }

    ~UringEngine() override {
        stopping_.store(true);
        wake();
        thread_.join();
    }

    void wake() noexcept override { wake_up_.set(); }

    std::string describe() const override { return description_; }

  private:
    void register_memory(std::span<const std::span<std::byte>> regions) {
        for (std::span<std::byte> region : regions) {
            for (; !region.empty(); region = region.subspan(std::min(region.size(), kMaxFixedBytes)))
                fixed_.push_back({region.data(), std::min(region.size(), kMaxFixedBytes)});
        }
        if (fixed_.empty()) {
            description_ += "no registered memory";
            return;
        }
        std::sort(fixed_.begin(), fixed_.end(),
                  [](const iovec& a, const iovec& b) { return std::less<>()(a.iov_base, b.iov_base); });
        const int error =
            -io_uring_register_buffers(ring_.get(), fixed_.data(), static_cast<unsigned>(fixed_.size()));
        if (error == 0) {
            description_ += "registered memory";
        } else {
            fixed_.clear();
            description_ += fmt::format("memory not registered ({})", system_message(error));
        }
    }

    // The registered buffer that holds all of the read's destination, or -1.
    int fixed_buffer(const ReadOp& op) const noexcept {
        auto after =
            std::upper_bound(fixed_.begin(), fixed_.end(), static_cast<const void*>(op.to),
                             [](const void* to, const iovec& b) { return std::less<>()(to, b.iov_base); });
        if (after == fixed_.begin()) return -1;
        const iovec& buffer = *--after;
        const auto inside = static_cast<std::size_t>(op.to - static_cast<std::byte*>(buffer.iov_base));
        if (inside + static_cast<std::size_t>(op.bytes) > buffer.iov_len) return -1;
        return static_cast<int>(after - fixed_.begin());
    }

    // The thread's life: hand new pieces to the system, sleep until something has come, deal with it.
    void serve() noexcept {
        prefer_short_slices();
        bool watching = false;  // a poll of the wake-up is in the ring
        while (!stopping_.load() || free_ops_.size() < ops_.size()) {
            if (!watching) watching = watch_wake_up();
            while (!free_ops_.empty()) {
                const std::optional<Piece> piece = queue_.take();
                if (!piece) break;
                const std::size_t index = free_ops_.back();
                free_ops_.pop_back();
                ops_[index] = files_.begin(*piece);
                prepare(index);
            }
            submit_and_wait();
            io_uring_cqe* cqe = nullptr;
            while (io_uring_peek_cqe(ring_.get(), &cqe) == 0) {
                const std::uint64_t what = io_uring_cqe_get_data64(cqe);
                const int result = cqe->res;
                io_uring_cqe_seen(ring_.get(), cqe);
                if (what == kWakeUp) {
                    wake_up_.clear();
                    watching = false;
                } else if (what != kNothing) {
                    end_read(what, result);
                }
            }
        }
    }

    bool watch_wake_up() noexcept {
        io_uring_sqe* sqe = io_uring_get_sqe(ring_.get());
        if (sqe == nullptr) return false;
        io_uring_prep_poll_add(sqe, wake_up_.fd(), POLLIN);
        io_uring_sqe_set_data64(sqe, kWakeUp);
        return true;
    }

    void prepare(std::size_t index) noexcept {
        const ReadOp& op = ops_[index];
        io_uring_sqe* sqe = io_uring_get_sqe(ring_.get());
        if (sqe == nullptr) return give_up(index, EBUSY);  // full of what could not be submitted
        files_.before_read();
        const int fd = files_registered_ ? op.fd_index : op.fd;
        const auto bytes = static_cast<unsigned>(op.bytes);
        const auto offset = static_cast<std::uint64_t>(op.offset);
        if (const int buffer = fixed_buffer(op); buffer >= 0)
            io_uring_prep_read_fixed(sqe, fd, op.to, bytes, offset, buffer);
        else
            io_uring_prep_read(sqe, fd, op.to, bytes, offset);
        if (files_registered_) sqe->flags |= IOSQE_FIXED_FILE;
        io_uring_sqe_set_data64(sqe, index);
    }

    void end_read(std::size_t index, int result) noexcept {
        if (files_.advance(ops_[index], result))
            prepare(index);
        else
            hand_back(index);
    }

    void hand_back(std::size_t index) noexcept {
        free_ops_.push_back(index);
        queue_.finish(ops_[index].piece, std::exchange(ops_[index].error, std::nullopt));
    }

    // The read never reached the system.
    void give_up(std::size_t index, int error) noexcept {
        files_.give_up(ops_[index], error);
        hand_back(index);
    }

    void submit_and_wait() noexcept {
        const int result = io_uring_submit_and_wait(ring_.get(), 1);
        if (result >= 0 || result == -EINTR) {
            n_submit_failures_ = 0;
            return;
        }
        // Short of memory, or too many completions waiting: both pass. If they do not, what is still in the
        // submission queue must neither be waited for nor be carried out later.
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        if (++n_submit_failures_ < kMaxSubmitFailures) return;
        const io_uring_sq& sq = ring_.get()->sq;
        for (unsigned i = *sq.khead; i != sq.sqe_tail; ++i) {
            io_uring_sqe& sqe = sq.sqes[i & sq.ring_mask];
            const std::uint64_t what = sqe.user_data;
            if (what >= kNothing) continue;
            io_uring_prep_nop(&sqe);
            io_uring_sqe_set_data64(&sqe, kNothing);
            give_up(what, -result);
        }
    }

    ReadQueue& queue_;
    ReadFiles& files_;
    WakeUp wake_up_;
    Ring ring_;
    bool files_registered_ = false;
    std::vector<iovec> fixed_;  // registered buffers by address
    std::string description_;
    std::atomic<bool> stopping_{false};  // set before wake(), read after the wake-up has been seen
    // The engine's thread only:
    std::vector<ReadOp> ops_;
    std::vector<std::size_t> free_ops_;
    int n_submit_failures_ = 0;
    std::thread thread_;
};

}  // namespace

std::unique_ptr<ReadEngine> make_uring_engine(ReadQueue& queue, ReadFiles& files, int depth,
                                              std::span<const std::span<std::byte>> fixed_memory) {
    return std::make_unique<UringEngine>(queue, files, depth, fixed_memory);
}

}  // namespace greenroom::cache
