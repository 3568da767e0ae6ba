#include "runtime/tensor_files.h"

#include "quant/base/error.h"

#include <algorithm>
#include <functional>

namespace greenroom::runtime {

TensorFiles::TensorFiles(const quant::Gguf& gguf) {
    for (const quant::GgufTensor& tensor : gguf.tensors()) by_address_.push_back(&tensor);
    std::sort(by_address_.begin(), by_address_.end(),
              [](const quant::GgufTensor* a, const quant::GgufTensor* b) {
                  return std::less<>()(a->view.data, b->view.data);
              });
}

const quant::GgufTensor& TensorFiles::tensor_of(const TensorView& view) const {
    const auto after = std::upper_bound(by_address_.begin(), by_address_.end(), view.data,
                                        [](const std::byte* data, const quant::GgufTensor* tensor) {
                                            return std::less<>()(data, tensor->view.data);
                                        });
    GR_CHECK(after != by_address_.begin());
    const quant::GgufTensor& tensor = **(after - 1);
    GR_CHECK(view.data - tensor.view.data < tensor.view.bytes());
    return tensor;
}

cache::ByteRange TensorFiles::range_of(const TensorView& view) const {
    const quant::GgufTensor& tensor = tensor_of(view);
    return {static_cast<std::int32_t>(tensor.part),
            static_cast<std::int64_t>(tensor.file_offset) + (view.data - tensor.view.data), view.bytes()};
}

}  // namespace greenroom::runtime
