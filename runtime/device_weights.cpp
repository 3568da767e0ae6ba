#include "runtime/device_weights.h"

#include "gpu/stream.h"
#include "runtime/staged_upload.h"
#include "runtime/tensor_files.h"

#include <functional>
#include <map>
#include <utility>
#include <vector>

namespace greenroom::runtime {
namespace {

// Kernels read a matrix in words of 16 bytes from its beginning, and up to a word beyond its end.
constexpr std::int64_t kAlignment = 256;
constexpr std::int64_t kBeyondEnd = 16;

// Where things go that are put one after the other, each once.
class Placement {
  public:
    struct Place {
        std::int64_t offset = 0;
        bool is_new = false;
    };

    // Of what lies at this address; two uses of a matrix (a tied output) share a place.
    Place of(const void* data, std::int64_t bytes) {
        const auto [found, is_new] = offsets_.try_emplace(data, end_);
        if (is_new) end_ += (bytes + kBeyondEnd + kAlignment - 1) / kAlignment * kAlignment;
        return {found->second, is_new};
    }

    std::int64_t bytes() const noexcept { return end_; }

  private:
    std::map<const void*, std::int64_t, std::less<>> offsets_;
    std::int64_t end_ = 0;
};

std::int64_t bytes_of(FloatArray array) noexcept { return static_cast<std::int64_t>(array.size_bytes()); }

}  // namespace

std::int64_t DeviceWeights::bytes_needed(const Weights& host, LayerRange layers) {
    Weights weights = host;
    Placement placement;
    for_each_resident(
        weights, layers, [&](TensorView& view) { placement.of(view.data, view.bytes()); },
        [&](FloatArray& array) { placement.of(array.data(), bytes_of(array)); });
    return placement.bytes();
}

DeviceWeights::DeviceWeights(const quant::Gguf& file, const Weights& host, LayerRange layers,
                             cache::SsdReader& reader, gpu::DeviceBudget& budget, gpu::Stream& stream,
                             const ProgressFn& progress)
    : weights_(host), memory_(budget, bytes_needed(host, layers), "the weights that every token needs") {
    const TensorFiles files(file);
    std::vector<FileUpload> uploads;
    Placement placement;
    const auto place_matrix = [&](TensorView& view) {
        const Placement::Place place = placement.of(view.data, view.bytes());
        std::byte* to = memory_.data() + place.offset;
        // Matrices that were cut from a stack lie apart; here they follow each other.
        const std::int64_t matrix_bytes = view.shape[1] * view.row_bytes();
        if (place.is_new)
            for (std::int64_t i = 0; i < view.shape[2]; ++i)
                uploads.push_back({files.range_of(view.matrix(i)), to + i * matrix_bytes});
        view.data = to;
        view.stack_rows = 0;
    };
    const auto upload_array = [&](FloatArray& array) {
        const Placement::Place place = placement.of(array.data(), bytes_of(array));
        std::byte* to = memory_.data() + place.offset;
        if (place.is_new) gpu::copy_to_device(stream, to, array.data(), bytes_of(array));
        array = {reinterpret_cast<const float*>(to), array.size()};
    };
    for_each_resident(weights_, layers, place_matrix, upload_array);
    upload_files(std::move(uploads), reader, stream, progress);
    stream.synchronize();
    weights_.values.reset();  // nothing looks at them any more
}

}  // namespace greenroom::runtime
