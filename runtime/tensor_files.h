#pragma once

// TensorFiles: from the address of a weight in the mapped GGUF to the bytes of the file that hold it.

#include "cache/byte_range.h"
#include "quant/base/tensor_view.h"
#include "quant/gguf.h"

#include <vector>

namespace greenroom::runtime {

class TensorFiles {
  public:
    // gguf must outlive it.
    explicit TensorFiles(const quant::Gguf& gguf);

    // The tensor that the view, whose data lies in the mapping, was cut from.
    const quant::GgufTensor& tensor_of(const TensorView& view) const;

    // The bytes of the view, which must be without gaps: a whole tensor, or consecutive rows.
    cache::ByteRange range_of(const TensorView& view) const;

  private:
    std::vector<const quant::GgufTensor*> by_address_;
};

}  // namespace greenroom::runtime
