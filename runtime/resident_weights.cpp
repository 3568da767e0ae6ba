#include "runtime/resident_weights.h"

#include "cache/bulk_read.h"
#include "quant/base/error.h"
#include "runtime/ram_tier.h"
#include "runtime/tensor_files.h"

#include <algorithm>
#include <functional>
#include <set>
#include <utility>
#include <variant>

namespace greenroom::runtime {
namespace {

// Norms and the like between two tensors: reading over them is cheaper than a read of its own.
constexpr std::int64_t kLargestGap = 256 << 10;

std::int64_t round_up(std::int64_t n, std::int64_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

}  // namespace

template <class Visit>
void ResidentWeights::for_each_view(Weights& weights, const Visit& visit) const {
    if (layers_.size() == 0) return;
    for_each_resident(weights, layers_, visit, [](FloatArray&) {});
    // A guess of what later layers will call looks at their routers (Forward).
    int n_routers = 0;
    for (std::size_t i = static_cast<std::size_t>(layers_.end);
         i < weights.layers.size() && n_routers < ExpertOptions::kMaxPrefetchLayers; ++i)
        if (auto* moe = std::get_if<MoeFfnWeights>(&weights.layers[i].ffn)) {
            visit(moe->router);
            ++n_routers;
        }
}

ResidentWeights::ResidentWeights(const quant::Gguf& gguf, Weights& weights, LayerRange layers,
                                 std::int64_t alignment)
    : layers_(layers), alignment_(alignment) {
    const TensorFiles files(gguf);
    std::set<const quant::GgufTensor*> tensors;
    for_each_view(weights, [&](TensorView& view) { tensors.insert(&files.tensor_of(view)); });
    std::vector<const quant::GgufTensor*> in_order(tensors.begin(), tensors.end());
    std::sort(in_order.begin(), in_order.end(), [](const quant::GgufTensor* a, const quant::GgufTensor* b) {
        return std::pair(a->part, a->file_offset) < std::pair(b->part, b->file_offset);
    });
    for (const quant::GgufTensor* tensor : in_order) {
        const cache::ByteRange range = files.range_of(tensor->view);
        if (!extents_.empty()) {
            cache::ByteRange& last = extents_.back().range;
            if (last.file == range.file && range.offset - last.end() <= kLargestGap) {
                last.bytes = range.end() - last.offset;
                continue;
            }
        }
        extents_.push_back({range, 0, tensor->view.data});
    }
    // As in the file relative to a block, so that direct reads need no copy.
    for (Extent& extent : extents_) {
        extent.offset = round_up(bytes_, alignment) + extent.range.offset % alignment;
        bytes_ = round_up(extent.offset + extent.range.bytes, alignment);
    }
    std::sort(extents_.begin(), extents_.end(),
              [](const Extent& a, const Extent& b) { return std::less<>()(a.mapped, b.mapped); });
}

const ResidentWeights::Extent& ResidentWeights::extent_of(const std::byte* mapped) const {
    const auto after = std::upper_bound(
        extents_.begin(), extents_.end(), mapped,
        [](const std::byte* data, const Extent& extent) { return std::less<>()(data, extent.mapped); });
    GR_CHECK(after != extents_.begin());
    const Extent& extent = *(after - 1);
    GR_CHECK(mapped - extent.mapped < extent.range.bytes);
    return extent;
}

void ResidentWeights::load(cache::SsdReader& reader, Weights& weights, const ProgressFn& progress) {
    if (bytes_ == 0) return;
    arena_ = std::make_unique<cache::Arena>(bytes_);
    std::vector<cache::Copy> copies;
    for (const Extent& extent : extents_) copies.push_back({extent.range, arena_->data() + extent.offset});
    std::sort(copies.begin(), copies.end(), [](const cache::Copy& a, const cache::Copy& b) {
        return std::pair(a.from.file, a.from.offset) < std::pair(b.from.file, b.from.offset);
    });
    cache::read_all(reader, copies, "loading", progress, nullptr, {.alignment = alignment_});
    for_each_view(weights, [this](TensorView& view) {
        const Extent& extent = extent_of(view.data);
        view.data = arena_->data() + extent.offset + (view.data - extent.mapped);
    });
}

}  // namespace greenroom::runtime
