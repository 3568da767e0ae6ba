#include "runtime/staged_copies.h"

#include "quant/base/error.h"

#include <algorithm>
#include <cstring>

namespace greenroom::runtime {
namespace {

constexpr std::int64_t kAlignment = 256;

std::int64_t piece_bytes(std::int64_t largest_bytes) noexcept {
    const std::int64_t rounded = (largest_bytes + kAlignment - 1) / kAlignment * kAlignment;
    return std::clamp(rounded, kAlignment, StagingRing::kMostPieceBytes);
}

// Of a copy.
std::int64_t most_pieces(std::int64_t largest_bytes) noexcept {
    const std::int64_t piece = piece_bytes(largest_bytes);
    return std::max<std::int64_t>(1, (largest_bytes + piece - 1) / piece);
}

// What has been enqueued before something failed.
void let_end(gpu::Stream& stream) noexcept {
    try {
        stream.synchronize();
    } catch (const Error&) {  // the device is lost, and nothing runs there any more
    }
}

}  // namespace

StagedCopies::StagedCopies(std::int64_t largest_bytes, std::int64_t most_under_way, std::string_view what)
    : ring_(StagingRing::kMostPieces, piece_bytes(largest_bytes), kAlignment, what),
      fillings_(
          static_cast<std::size_t>(std::max<std::int64_t>(1, most_under_way) * most_pieces(largest_bytes))) {}

std::int64_t StagedCopies::bytes_needed(std::int64_t largest_bytes) noexcept {
    return StagingRing::bytes_needed(StagingRing::kMostPieces, piece_bytes(largest_bytes), kAlignment);
}

void StagedCopies::enqueue(gpu::Stream& stream, std::span<const UploadPart> parts) {
    GR_CHECK(!parts.empty() && parts.size() <= kMostParts);
    const std::byte* const end = parts.back().to + parts.back().bytes;
    try {
        for (const std::byte* begin = parts.front().to; begin < end; begin += ring_.piece_bytes())
            enqueue_piece(stream, parts, begin);
    } catch (...) {
        let_end(filling_stream_);
        let_end(stream);
        throw;
    }
}

// Of the parts, what goes to the GPU's memory from `begin` on and has room in a piece.
void StagedCopies::enqueue_piece(gpu::Stream& stream, std::span<const UploadPart> parts,
                                 const std::byte* begin) {
    Filling& filling = fillings_[static_cast<std::size_t>(n_begun_) % fillings_.size()];
    filling.done.wait();
    filling.n_parts = 0;
    const std::int64_t piece = n_begun_++;
    std::byte* first = nullptr;  // of the GPU's memory
    std::byte* first_in_piece = nullptr;
    std::int64_t n_bytes = 0;  // from there on
    for (const UploadPart& part : parts) {
        const std::int64_t skipped = std::max<std::int64_t>(0, begin - part.to);
        const std::int64_t offset = part.to + skipped - begin;
        const std::int64_t bytes = std::min(part.bytes - skipped, ring_.piece_bytes() - offset);
        if (bytes <= 0) continue;
        std::byte* const to = ring_.piece(piece) + offset;
        filling.parts[filling.n_parts++] = {part.from + skipped, to, bytes};
        if (first == nullptr) {
            first = part.to + skipped;
            first_in_piece = to;
        }
        n_bytes = to + bytes - first_in_piece;
    }
    if (n_bytes == 0) return;
    ring_.wait(piece, filling_stream_);
    gpu::call_on_host(filling_stream_, fill, &filling);
    filling_stream_.record(filling.done);
    stream.wait(filling.done);
    gpu::copy_to_device(stream, first, first_in_piece, n_bytes);
    ring_.record_copied(piece, stream);
}

void StagedCopies::fill(void* filling) noexcept {
    const auto& f = *static_cast<const Filling*>(filling);
    for (const Filling::Part& part : std::span(f.parts).first(f.n_parts))
        std::memcpy(part.to, part.from, static_cast<std::size_t>(part.bytes));
}

}  // namespace greenroom::runtime
