#include "cache/read_engine.h"
#include "cache/signal_mask.h"
#include "cache/thread_slice.h"
#include "quant/base/error.h"

#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace greenroom::cache {
namespace {

class PreadEngine final : public ReadEngine {
  public:
    PreadEngine(ReadQueue& queue, ReadFiles& files, int depth) : queue_(queue), files_(files) {
        const SignalsBlocked blocked;
        for (int i = 0; i < depth; ++i) {
            try {
                threads_.emplace_back([this]() noexcept { serve(); });
            } catch (const std::system_error&) {
                if (threads_.empty()) throw;
                break;  // fewer will do
            }
        }
    }

    ~PreadEngine() override {
        for (std::thread& thread : threads_) thread.join();
    }

    void wake() noexcept override {}  // the queue has woken a thread

    std::string describe() const override { return fmt::format("pread in {} threads", threads_.size()); }

  private:
    void serve() noexcept {
        prefer_short_slices();
        while (const std::optional<Piece> piece = queue_.take_or_wait()) {
            ReadOp op = files_.begin(*piece);
            ssize_t result = 0;
            do {
                files_.before_read();
                result = ::pread(op.fd, op.to, static_cast<std::size_t>(op.bytes), op.offset);
            } while (files_.advance(op, result < 0 ? -errno : result));
            queue_.finish(*piece, std::move(op.error));
        }
    }

    ReadQueue& queue_;
    ReadFiles& files_;
    std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<ReadEngine> make_pread_engine(ReadQueue& queue, ReadFiles& files, int depth) {
    return std::make_unique<PreadEngine>(queue, files, depth);
}

}  // namespace greenroom::cache
