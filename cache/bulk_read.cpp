#include "cache/bulk_read.h"

#include "quant/base/error.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <utility>

namespace greenroom::cache {
namespace {

constexpr std::chrono::milliseconds kLookAtStop{50};

// Cuts copies into chunks, one after the other.
class Chunks {
  public:
    Chunks(std::span<const Copy> copies, const BulkOptions& options) : copies_(copies), options_(options) {}

    // Empty at the end. The same one again until pop().
    std::optional<Copy> front() {
        while (!copies_.empty() && taken_ == copies_.front().from.bytes) {
            copies_ = copies_.subspan(1);
            taken_ = 0;
        }
        if (copies_.empty()) return std::nullopt;
        const Copy& copy = copies_.front();
        const std::int64_t begin = copy.from.offset + taken_;
        const std::int64_t cut =
            (begin + options_.chunk_bytes + options_.alignment - 1) / options_.alignment * options_.alignment;
        const std::int64_t bytes = std::min(cut, copy.from.end()) - begin;
        return Copy{{copy.from.file, begin, bytes}, copy.to + taken_};
    }
    void pop(const Copy& chunk) { taken_ += chunk.from.bytes; }

  private:
    std::span<const Copy> copies_;
    const BulkOptions& options_;
    std::int64_t taken_ = 0;  // of the first of copies_
};

}  // namespace

BulkOutcome read_all(Mover& mover, std::span<const Copy> copies, std::string_view what,
                     const ProgressFn& progress, const std::atomic<bool>* stop, const BulkOptions& options) {
    GR_CHECK(options.chunk_bytes > 0 && options.max_requests > 0 && options.alignment > 0);
    std::int64_t total = 0;
    for (const Copy& copy : copies) total += copy.from.bytes;
    std::int64_t done = 0;
    if (progress) progress(what, done, total);

    Chunks chunks(copies, options);
    std::optional<Error> error;
    bool stopped = false;
    int n_under_way = 0;
    for (;;) {
        stopped = stopped || (stop != nullptr && stop->load(std::memory_order_relaxed));
        while (!stopped && !error && n_under_way < options.max_requests) {
            const std::optional<Copy> chunk = chunks.front();
            if (!chunk) break;
            // The tag carries the size back.
            const CopyRequest request{.copies = {&*chunk, 1},
                                      .tag = static_cast<std::uint64_t>(chunk->from.bytes)};
            try {
                if (!mover.start(request)) break;
            } catch (const Error& refused) {
                error = refused;
                break;
            }
            chunks.pop(*chunk);
            ++n_under_way;
        }
        if (n_under_way == 0) break;
        std::array<Completion, 8> completions;
        const std::size_t n = mover.wait(completions, kLookAtStop);
        for (Completion& completion : std::span(completions).first(n)) {
            --n_under_way;
            if (completion.outcome == Outcome::done)
                done += static_cast<std::int64_t>(completion.tag);
            else if (!error)
                error = std::move(completion.error);
        }
        if (progress && n > 0 && !error) progress(what, done, total);
    }
    if (error) throw Error(*error);
    if (stopped && done < total) return BulkOutcome::stopped;
    GR_CHECK(done ==
             total);  // else start() refused with nothing of ours under way: the mover is not ours alone
    return BulkOutcome::done;
}

}  // namespace greenroom::cache
