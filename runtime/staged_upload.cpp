#include "runtime/staged_upload.h"

#include "quant/base/error.h"
#include "runtime/staging_ring.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <span>
#include <utility>

namespace greenroom::runtime {
namespace {

constexpr std::int64_t kPieceBytes = StagingRing::kMostPieceBytes;
constexpr auto kMostPieces = static_cast<std::size_t>(StagingRing::kMostPieces);

// Norms and the like between two tensors: reading over them is cheaper than a read of its own.
constexpr std::int64_t kLargestGap = 256 << 10;

constexpr std::chrono::milliseconds kPatience{100};  // of a wait for reads

std::int64_t round_up(std::int64_t n, std::int64_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

// Of RAM for a piece, which lies as in the file relative to a block, so that direct reads need no copy.
std::int64_t place_bytes(std::int64_t piece_bytes, std::int64_t alignment) {
    return round_up(piece_bytes, alignment) + alignment;
}

// What is read at a time, so that all of the uploads are; they are in the order of the files.
std::vector<cache::ByteRange> pieces_of(std::span<const FileUpload> uploads, std::int64_t alignment) {
    std::vector<cache::ByteRange> runs;
    for (const FileUpload& upload : uploads) {
        const cache::ByteRange& range = upload.from;
        if (!runs.empty() && runs.back().file == range.file &&
            range.offset - runs.back().end() <= kLargestGap)
            runs.back().bytes = range.end() - runs.back().offset;
        else
            runs.push_back(range);
    }
    std::vector<cache::ByteRange> pieces;
    for (const cache::ByteRange& run : runs)
        for (std::int64_t begin = run.offset; begin < run.end(); begin = pieces.back().end()) {
            const std::int64_t cut = (begin + kPieceBytes) / alignment * alignment;
            pieces.push_back({run.file, begin, std::min(cut, run.end()) - begin});
        }
    return pieces;
}

// The reads under way; none is when it is gone, so that the memory may go after it.
class Reads {
  public:
    explicit Reads(cache::SsdReader& reader) : reader_(reader) {}
    ~Reads() {
        for (const cache::Ticket ticket : tickets_) reader_.cancel(ticket);
        std::array<cache::Completion, kMostPieces> ended;
        while (n_under_way_ > 0) n_under_way_ -= static_cast<int>(reader_.wait(ended, kPatience));
    }
    Reads(const Reads&) = delete;
    Reads& operator=(const Reads&) = delete;

    void start(const cache::Copy& copy, std::size_t piece) {
        const auto ticket = reader_.start({.copies = {&copy, 1}, .tag = piece});
        GR_CHECK(ticket.has_value());  // else somebody else uses the reader
        tickets_[piece % kMostPieces] = *ticket;
        ++n_under_way_;
    }

    // Hands the numbers of the pieces that have arrived to `take`. Error: one could not be read.
    template <class Take>
    void wait(const Take& take) {
        std::array<cache::Completion, kMostPieces> ended;
        const std::size_t n = reader_.wait(ended, kPatience);
        n_under_way_ -= static_cast<int>(n);
        for (const cache::Completion& completion : std::span(ended).first(n)) {
            if (completion.outcome != cache::Outcome::done) throw Error(completion.error.value());
            take(static_cast<std::size_t>(completion.tag));
        }
    }

  private:
    cache::SsdReader& reader_;
    std::array<cache::Ticket, kMostPieces> tickets_{};
    int n_under_way_ = 0;
};

}  // namespace

std::int64_t staging_bytes(std::int64_t n_bytes, std::int64_t alignment) noexcept {
    const auto n_pieces = std::min<std::int64_t>(kMostPieces, (n_bytes + kPieceBytes - 1) / kPieceBytes);
    return StagingRing::bytes_needed(n_pieces, place_bytes(std::min(n_bytes, kPieceBytes), alignment),
                                     alignment);
}

void upload_files(std::vector<FileUpload> uploads, cache::SsdReader& reader, gpu::Stream& stream,
                  const ProgressFn& progress) {
    std::sort(uploads.begin(), uploads.end(), [](const FileUpload& a, const FileUpload& b) {
        return std::pair(a.from.file, a.from.offset) < std::pair(b.from.file, b.from.offset);
    });
    const std::int64_t alignment = reader.alignment();
    const std::vector<cache::ByteRange> pieces = pieces_of(uploads, alignment);
    if (pieces.empty()) return;
    std::int64_t total = 0;
    std::int64_t longest = 0;
    for (const cache::ByteRange& piece : pieces) {
        total += piece.bytes;
        longest = std::max(longest, piece.bytes);
    }
    const std::size_t n_places = std::min(kMostPieces, pieces.size());
    StagingRing ring(static_cast<std::int64_t>(n_places), place_bytes(longest, alignment), alignment,
                     "weights on their way to the GPU", gpu::Pinning::preferred);
    const auto memory_of = [&](std::size_t piece) {
        return ring.piece(static_cast<std::int64_t>(piece)) + pieces[piece].offset % alignment;
    };
    const auto copy_on = [&](std::size_t number) {
        const cache::ByteRange& piece = pieces[number];
        auto upload = std::ranges::partition_point(uploads, [&piece](const FileUpload& u) {
            return std::pair(u.from.file, u.from.end()) <= std::pair(piece.file, piece.offset);
        });
        for (;
             upload != uploads.end() && upload->from.file == piece.file && upload->from.offset < piece.end();
             ++upload) {
            const std::int64_t begin = std::max(upload->from.offset, piece.offset);
            const std::int64_t end = std::min(upload->from.end(), piece.end());
            gpu::copy_to_device(stream, upload->to + (begin - upload->from.offset),
                                memory_of(number) + (begin - piece.offset), end - begin);
        }
    };

    std::int64_t done = 0;
    std::array<bool, kMostPieces> has_arrived{};  // by place
    std::size_t n_started = 0;
    std::size_t n_done = 0;  // pieces, in their order
    Reads reads(reader);
    if (progress) progress("loading", done, total);
    while (n_done < pieces.size()) {
        for (; n_started < pieces.size() && n_started - n_done < n_places; ++n_started) {
            ring.wait(static_cast<std::int64_t>(n_started));
            has_arrived[n_started % n_places] = false;
            reads.start({pieces[n_started], memory_of(n_started)}, n_started);
        }
        reads.wait([&](std::size_t piece) {
            copy_on(piece);
            ring.record_copied(static_cast<std::int64_t>(piece), stream);
            has_arrived[piece % n_places] = true;
            done += pieces[piece].bytes;
            if (progress) progress("loading", done, total);
        });
        while (n_done < n_started && has_arrived[n_done % n_places]) ++n_done;
    }
    stream.synchronize();
}

}  // namespace greenroom::runtime
