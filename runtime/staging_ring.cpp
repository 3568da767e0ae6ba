#include "runtime/staging_ring.h"

#include "quant/base/error.h"

namespace greenroom::runtime {

StagingRing::StagingRing(std::int64_t n_pieces, std::int64_t piece_bytes, std::int64_t alignment,
                         std::string_view what, gpu::Pinning pinning)
    : piece_bytes_(piece_bytes),
      memory_(bytes_needed(n_pieces, piece_bytes, alignment), what, pinning),
      copied_(static_cast<std::size_t>(n_pieces)) {
    GR_CHECK(n_pieces > 0 && piece_bytes > 0 && piece_bytes % alignment == 0);
    const auto beyond = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(memory_.data()) %
                                                  static_cast<std::uintptr_t>(alignment));
    first_ = memory_.data() + (beyond == 0 ? 0 : alignment - beyond);
}

}  // namespace greenroom::runtime
