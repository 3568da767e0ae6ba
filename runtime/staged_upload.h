#pragma once

// upload_files(): brings parts of the model's files to the GPU's memory without a copy of them in RAM. The
// reader fills a few pinned pieces of RAM in turn; what has arrived in one is copied on while the others are
// filled.

#include "cache/byte_range.h"
#include "cache/ssd_reader.h"
#include "gpu/stream.h"
#include "quant/base/log.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace greenroom::runtime {

struct FileUpload {
    cache::ByteRange from;
    std::byte* to = nullptr;  // in the GPU's memory
};

// RAM that it takes for so many bytes of files, at most.
std::int64_t staging_bytes(std::int64_t n_bytes, std::int64_t alignment) noexcept;

// Returns when everything is there. uploads: in any order, none overlaps another. The reader is ours alone
// meanwhile. RAM that cannot be pinned is a warning in the log, and slower. Error: that of a read that has
// failed, or of a copy; nothing is written any more.
void upload_files(std::vector<FileUpload> uploads, cache::SsdReader& reader, gpu::Stream& stream,
                  const ProgressFn& progress);

}  // namespace greenroom::runtime
