#include "cache/ssd_reader.h"

#include "quant/base/error.h"

#include <cstdlib>

namespace greenroom::cache {
namespace {

std::unique_ptr<ReadFaults> faults_from_environment() {
    const char* rules = std::getenv("GREENROOM_READ_FAULTS");
    if (rules == nullptr || *rules == '\0') return nullptr;
    return std::make_unique<ReadFaults>(rules);
}

QueueLimits limits_of(const ReaderOptions& options, std::int64_t alignment) {
    GR_CHECK(options.depth > 0 && options.prefetch_depth > 0 && options.piece_bytes > 0 &&
             options.piece_bytes <= 1 << 30);
    return {.max_requests = options.max_requests,
            .prefetch_depth = options.prefetch_depth,
            .piece_bytes = std::max(options.piece_bytes, alignment),
            .alignment = alignment};
}

}  // namespace

SsdReader::SsdReader(std::span<const std::string> paths, const ReaderOptions& options)
    : faults_from_environment_(options.faults == nullptr ? faults_from_environment() : nullptr),
      files_(paths, options.access,
             options.faults != nullptr ? options.faults : faults_from_environment_.get()),
      queue_(limits_of(options, files_.alignment())) {
    if (options.backend != ReadBackend::pread) {
        try {
            engine_ = make_uring_engine(queue_, files_, options.depth, options.fixed_memory);
        } catch (const Error& error) {
            if (options.backend == ReadBackend::uring || error.kind() != ErrorKind::unsupported) throw;
            no_uring_because_ = error.what();
        }
    }
    if (engine_ == nullptr) engine_ = make_pread_engine(queue_, files_, options.depth);
}

SsdReader::~SsdReader() {
    queue_.stop();
    engine_.reset();
}

std::optional<Ticket> SsdReader::start(const CopyRequest& request) {
    for (const Copy& copy : request.copies) files_.check(copy.from);
    const std::optional<Ticket> ticket = queue_.push(request);
    if (ticket) engine_->wake();
    return ticket;
}

void SsdReader::promote(Ticket ticket) noexcept {
    queue_.promote(ticket);
    engine_->wake();
}

void SsdReader::cancel(Ticket ticket) noexcept { queue_.cancel(ticket); }

std::size_t SsdReader::poll(std::span<Completion> completions) { return queue_.poll(completions); }

std::size_t SsdReader::wait(std::span<Completion> completions, std::chrono::microseconds timeout) {
    return queue_.wait(completions, timeout);
}

std::string SsdReader::describe() const {
    std::string line = engine_->describe();
    if (!no_uring_because_.empty()) line += fmt::format(" ({})", no_uring_because_);
    return line + "; " + files_.describe();
}

}  // namespace greenroom::cache
