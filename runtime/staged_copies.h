#pragma once

// StagedCopies: copies to the GPU from memory that is not pinned, without anybody waiting. A thread of the
// driver fills a StagingRing in the order of the calls; the caller's stream copies each piece on when it is
// full. Both are only enqueued: a piece is filled when what was in it before has been copied, and a stream
// waits for nothing but its own pieces. As fast as one thread copies memory, or as the link if that is
// slower.
//
// Used by one thread at a time. Nothing is allocated after construction.

#include "gpu/stream.h"
#include "runtime/staging_ring.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace greenroom::runtime {

// Bytes of the host and where they go in the GPU's memory.
struct UploadPart {
    const std::byte* from = nullptr;
    std::byte* to = nullptr;
    std::int64_t bytes = 0;
};

class StagedCopies {
  public:
    static constexpr std::size_t kMostParts = 4;

    // largest_bytes: of GPU memory from the first to the last byte of a copy. most_under_way: copies that are
    // enqueued and not done before enqueue() has to wait for the first of them. Error{out_of_memory} where
    // the ring cannot be pinned; what: for its message.
    StagedCopies(std::int64_t largest_bytes, std::int64_t most_under_way, std::string_view what);

    // Of RAM.
    static std::int64_t bytes_needed(std::int64_t largest_bytes) noexcept;
    std::int64_t bytes() const noexcept { return ring_.bytes(); }

    // In the stream's order. parts: up to kMostParts, by rising `to`; the GPU's memory between two of them is
    // overwritten with anything. The host's side must stay as it is until the stream has come by.
    // Error{device}: nothing of it is under way any more.
    void enqueue(gpu::Stream& stream, std::span<const UploadPart> parts);

  private:
    // What fills a piece.
    struct Filling {
        struct Part {
            const std::byte* from = nullptr;
            std::byte* to = nullptr;  // in the piece
            std::int64_t bytes = 0;
        };
        std::array<Part, kMostParts> parts;
        std::size_t n_parts = 0;
        gpu::Event done;
    };

    static void fill(void* filling) noexcept;
    void enqueue_piece(gpu::Stream& stream, std::span<const UploadPart> parts, const std::byte* begin);

    StagingRing ring_;
    std::vector<Filling> fillings_;  // in turn
    std::int64_t n_begun_ = 0;       // pieces
    gpu::Stream filling_stream_;     // uses what is above
};

}  // namespace greenroom::runtime
