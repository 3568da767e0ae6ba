#pragma once

// LayerRange: some of a model's layers, one after the other: [first, end), what one device runs of it. The
// output (last norm and head) counts as the layer after the last, as in llama.cpp's -ngl, and the embedding
// belongs to layer 0.

namespace greenroom::runtime {

struct LayerRange {
    int first = 0;
    int end = 0;

    int size() const noexcept { return end - first; }
    bool contains(int layer) const noexcept { return first <= layer && layer < end; }
    bool operator==(const LayerRange&) const = default;
};

// Of a model of so many layers, its output included.
constexpr LayerRange all_layers(int n_layers) noexcept { return {0, n_layers + 1}; }

}  // namespace greenroom::runtime
