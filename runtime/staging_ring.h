#pragma once

// StagingRing: a few pieces of pinned RAM that are filled in turn and copied on to the GPU, so that copies of
// what lies elsewhere run beside everything else. Somebody fills a piece, gives a stream the copies of it and
// records them; the piece is filled again when these are done.
//
// Pieces are counted on and on; piece n lies where piece n - n_pieces() did.

#include "gpu/memory.h"
#include "gpu/stream.h"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace greenroom::runtime {

class StagingRing {
  public:
    // Large enough for the full speed of a disk and of the link, and several, so that both are always busy.
    static constexpr std::int64_t kMostPieceBytes = 8 << 20;
    static constexpr std::int64_t kMostPieces = 4;

    // piece_bytes: a multiple of the alignment, which pieces begin at. what: for messages. As
    // gpu::PinnedBuffer.
    StagingRing(std::int64_t n_pieces, std::int64_t piece_bytes, std::int64_t alignment,
                std::string_view what, gpu::Pinning pinning = gpu::Pinning::required);

    static constexpr std::int64_t bytes_needed(std::int64_t n_pieces, std::int64_t piece_bytes,
                                               std::int64_t alignment) noexcept {
        return n_pieces * piece_bytes + alignment;
    }

    std::int64_t n_pieces() const noexcept { return static_cast<std::int64_t>(copied_.size()); }
    std::int64_t piece_bytes() const noexcept { return piece_bytes_; }
    std::int64_t bytes() const noexcept { return memory_.bytes(); }

    std::byte* piece(std::int64_t n) const noexcept { return first_ + n % n_pieces() * piece_bytes_; }
    // What the stream has been given so far is the last that reads piece n.
    void record_copied(std::int64_t n, gpu::Stream& stream) { stream.record(copied(n)); }
    // Returns when piece n may be filled.
    void wait(std::int64_t n) const { copied_[static_cast<std::size_t>(n % n_pieces())].wait(); }
    // What the stream is given from here on comes after that.
    void wait(std::int64_t n, gpu::Stream& stream) { stream.wait(copied(n)); }

  private:
    gpu::Event& copied(std::int64_t n) { return copied_[static_cast<std::size_t>(n % n_pieces())]; }

    std::int64_t piece_bytes_;
    gpu::PinnedBuffer memory_;
    std::byte* first_ = nullptr;  // of memory_, aligned
    std::vector<gpu::Event> copied_;
};

}  // namespace greenroom::runtime
