#pragma once

// SequenceMemory: what a session remembers of its tokens (see kv_layout.h for what and how much), of the
// layers that one device runs. Reserved in full by the constructor, where the Ops work; nothing is allocated
// later, and the host never looks inside. Not thread-safe.
//
// A batch writes the rows of its positions and the states' second bank; commit() makes it part of the
// sequence. A batch that is given up is simply not committed. rewind() goes back to an earlier position: rows
// need nothing, a state or a ring that has moved on is taken from a checkpoint.

#include "quant/base/error.h"
#include "quant/base/kv_rows.h"
#include "runtime/kv_layout.h"
#include "runtime/ops_concept.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace greenroom::runtime {

// One layer's memory, as a forward pass sees it: rows, or the state before the batch and room for the one
// after it.
struct LayerMemory {
    KvRows keys;
    KvRows values;
    KvRows index_keys;
    std::span<const float> state;
    std::span<float> next_state;
};

template <Ops T>
class SequenceMemory {
  public:
    // layout: of the whole model.
    SequenceMemory(const ModelSpec& spec, LayerRange layers, const KvTypes& types, const KvLayout& layout,
                   int n_checkpoints, T& ops)
        : ops_(ops), spec_(spec), first_layer_(layers.first) {
        const KvLayout part = layout.part(layers);
        for (const LayerKvLayout& layer : part.layers) {
            Layer l{layer, types, {}, {}, 0};
            l.rows = allocate_bytes(layer.bytes());
            for (auto& bank : l.banks) bank = ops.allocate(layer.state_values);
            has_states_ |= layer.state_values > 0;
            layers_.push_back(std::move(l));
        }
        if (part.checkpoint_bytes() == 0) return;
        for (int i = 0; i < n_checkpoints; ++i)
            checkpoints_.push_back({kUnused, 0, allocate_bytes(part.checkpoint_bytes())});
    }

    std::int64_t n_tokens() const noexcept { return n_tokens_; }

    // 0 or 1: layer() gives the same addresses as long as this is the same. Without states always 0.
    int bank() const noexcept { return has_states_ ? bank_ : 0; }

    // Of the model's layer i.
    LayerMemory layer(int i) const noexcept {
        const Layer& l = layers_[static_cast<std::size_t>(i - first_layer_)];
        std::byte* data = bytes_of(l.rows);
        LayerMemory memory;
        const auto rows = [&l](std::byte* at, quant::Type type, std::int64_t n_values, std::int64_t n_bytes,
                               int n_heads) {
            return KvRows{at, type, l.layout.n_rows, n_values / n_heads, n_bytes / n_heads, n_heads};
        };
        memory.keys = rows(data, l.types.keys, l.layout.row.keys, l.layout.key_bytes, l.layout.n_heads);
        data += l.layout.n_rows * l.layout.key_bytes;
        memory.values =
            rows(data, l.types.values, l.layout.row.values, l.layout.value_bytes, l.layout.n_heads);
        data += l.layout.n_rows * l.layout.value_bytes;
        memory.index_keys = rows(data, l.types.keys, l.layout.row.index_keys, l.layout.index_bytes, 1);
        const auto n_state = static_cast<std::size_t>(l.layout.state_values);
        memory.state = {l.banks[bank_].data(), n_state};
        memory.next_state = {l.banks[1 - bank_].data(), n_state};
        return memory;
    }

    // Before a batch of n tokens: from here on it may overwrite the oldest rows of the rings.
    void begin(std::int64_t n) noexcept {
        for (Layer& l : layers_)
            if (l.layout.window > 0) l.oldest_row = std::max(l.oldest_row, n_tokens_ + n - l.layout.n_rows);
    }

    // After a batch of n tokens: they belong to the sequence.
    void commit(std::int64_t n) noexcept {
        n_tokens_ += n;
        bank_ = 1 - bank_;
    }

    bool keeps_checkpoints() const noexcept { return !checkpoints_.empty(); }

    // Keeps what is needed to come back to n_tokens(), in the place of the oldest checkpoint if none is free.
    void save_checkpoint() {
        if (checkpoints_.empty()) return;
        Checkpoint* target = &checkpoints_.front();
        for (Checkpoint& checkpoint : checkpoints_) {
            if (checkpoint.position == n_tokens_) return;
            if (checkpoint.age < target->age) target = &checkpoint;
        }
        target->position = n_tokens_;
        target->age = ++n_saved_;
        std::byte* to = bytes_of(target->memory);
        for (std::size_t i = 0; i < layers_.size(); ++i) to = transfer(i, to, Direction::save);
    }

    // Goes back to the last position <= n_keep from which the sequence can go on, and returns it.
    std::int64_t rewind(std::int64_t n_keep) {
        if (n_keep != n_tokens_ && !can_go_on_from(n_keep)) n_keep = restore_before(n_keep);
        n_tokens_ = n_keep;
        for (Checkpoint& checkpoint : checkpoints_)
            if (checkpoint.position > n_keep) checkpoint = {kUnused, 0, std::move(checkpoint.memory)};
        return n_keep;
    }

  private:
    using Buffer = typename T::Buffer;
    static constexpr std::int64_t kUnused = -1;

    struct Layer {
        LayerKvLayout layout;
        KvTypes types;
        Buffer rows;
        Buffer banks[2];
        std::int64_t oldest_row;  // of a ring: rows before this position may have been overwritten
    };

    struct Checkpoint {
        std::int64_t position;
        std::int64_t age;  // rises with each save; 0: free
        Buffer memory;
    };

    enum class Direction { save, restore };

    Buffer allocate_bytes(std::int64_t n_bytes) {
        constexpr std::int64_t kFloat = sizeof(float);
        return ops_.allocate((n_bytes + kFloat - 1) / kFloat);
    }

    static std::byte* bytes_of(const Buffer& buffer) noexcept {
        return reinterpret_cast<std::byte*>(buffer.data());
    }

    // First position that a token at `position` sees in a layer of ours.
    std::int64_t first_visible(std::size_t layer, std::int64_t position) const noexcept {
        const LayerSpec& spec = spec_.layers[layer + static_cast<std::size_t>(first_layer_)];
        return std::get<GqaSpec>(spec.attention).shape.first_visible(position);
    }

    bool can_go_on_from(std::int64_t position) const noexcept {
        for (std::size_t i = 0; i < layers_.size(); ++i) {
            if (layers_[i].layout.state_values > 0) return false;
            if (layers_[i].layout.window > 0 && first_visible(i, position) < layers_[i].oldest_row)
                return false;
        }
        return true;
    }

    // The latest checkpoint not after n_keep, or the beginning.
    std::int64_t restore_before(std::int64_t n_keep) {
        const Checkpoint* best = nullptr;
        for (const Checkpoint& checkpoint : checkpoints_)
            if (checkpoint.position != kUnused && checkpoint.position <= n_keep &&
                (best == nullptr || checkpoint.position > best->position))
                best = &checkpoint;
        n_tokens_ = best == nullptr ? 0 : best->position;
        if (best == nullptr) {
            for (Layer& l : layers_) {
                l.oldest_row = 0;
                ops_.zero({l.banks[bank_].data(), static_cast<std::size_t>(l.layout.state_values)});
            }
        } else {
            std::byte* from = bytes_of(best->memory);
            for (std::size_t i = 0; i < layers_.size(); ++i) from = transfer(i, from, Direction::restore);
        }
        return n_tokens_;
    }

    // Moves layer i's share of a checkpoint at n_tokens_ to or from `memory`; returns where the next begins.
    std::byte* transfer(std::size_t i, std::byte* memory, Direction direction) {
        Layer& l = layers_[i];
        const auto move = [this, direction](std::byte* here, std::byte* there, std::int64_t n) {
            if (direction == Direction::save)
                ops_.copy_bytes(there, here, n);
            else
                ops_.copy_bytes(here, there, n);
        };
        if (l.layout.state_values > 0)
            move(bytes_of(l.banks[bank_]), memory,
                 l.layout.state_values * static_cast<std::int64_t>(sizeof(float)));
        if (l.layout.window > 0) {
            const LayerMemory rows = layer(first_layer_ + static_cast<int>(i));
            const std::int64_t first = first_visible(i, n_tokens_);
            std::byte* there = memory;
            for (const KvRows* part : {&rows.keys, &rows.values, &rows.index_keys}) {
                if (part->row_bytes == 0) continue;
                // Of each head up to the end of the ring, and from its beginning on.
                for (int h = 0; h < part->n_heads; ++h)
                    for (std::int64_t s = first; s < n_tokens_;) {
                        const std::int64_t n = std::min(n_tokens_ - s, part->n_rows - s % part->n_rows);
                        move(part->row(s, h), there, n * part->row_bytes);
                        there += n * part->row_bytes;
                        s += n;
                    }
            }
            if (direction == Direction::restore) l.oldest_row = first;
        }
        return memory + l.layout.checkpoint_bytes();
    }

    T& ops_;
    const ModelSpec& spec_;
    int first_layer_;
    std::vector<Layer> layers_;
    std::vector<Checkpoint> checkpoints_;
    std::int64_t n_tokens_ = 0;
    std::int64_t n_saved_ = 0;
    int bank_ = 0;  // of the states: the one that holds them after n_tokens_
    bool has_states_ = false;
};

}  // namespace greenroom::runtime
