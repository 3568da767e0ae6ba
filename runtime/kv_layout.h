#pragma once

// What a session remembers of its tokens, in numbers: which rows of which type each layer keeps, for how many
// positions, and what it costs. The memory itself is in sequence_memory.h.
//
//   attention with grouped queries   for each head of keys and values a row of each per position
//   latent attention                 a row of latent and rotated key; with an indexer, its key besides
//   sliding or chunked window        the same, in a ring that holds the window and a batch
//   gated DeltaNet                   a state of fixed size, twice (see SequenceMemory)

#include "quant/types.h"
#include "runtime/layer_range.h"
#include "runtime/model_spec.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace greenroom::runtime {

struct KvTypes {
    quant::Type keys = quant::Type::F16;  // also of the rows of latent attention
    quant::Type values = quant::Type::F16;
};

// The type with this name as users write it: f32, f16, bf16, q8_0 or q4_0. Error{bad_input} for another.
quant::Type parse_kv_type(std::string_view name);

std::string_view kv_type_name(quant::Type type) noexcept;

// Error{unsupported} where a head's keys or values are not a whole number of the type's blocks.
void check_kv_types(const ModelSpec& spec, const KvTypes& types);

// Whether a window is kept in a ring or, as llama.cpp's --swa-full, in full: then going back needs no
// checkpoint.
enum class WindowRows { ring, full };

// Values per position; 0 where a layer has no such row.
struct KvRowValues {
    std::int64_t keys = 0;
    std::int64_t values = 0;
    std::int64_t index_keys = 0;

    std::int64_t total() const noexcept { return keys + values + index_keys; }
};

KvRowValues kv_row_values(const AttentionSpec& attention) noexcept;

// One layer's rows.
struct LayerKvLayout {
    KvRowValues row;
    std::int64_t n_rows = 0;     // 0: the layer keeps a state instead
    int n_heads = 1;             // of keys and values, each with rows of its own
    std::int64_t window = 0;     // most rows that a token can see, where they are in a ring; else 0
    std::int64_t key_bytes = 0;  // of a position
    std::int64_t value_bytes = 0;
    std::int64_t index_bytes = 0;
    std::int64_t state_values = 0;  // float32 values of a DeltaNet state

    std::int64_t row_bytes() const noexcept { return key_bytes + value_bytes + index_bytes; }
    std::int64_t bytes() const noexcept { return n_rows * row_bytes(); }
    // A checkpoint's share: the window of a ring, or the state.
    std::int64_t checkpoint_bytes() const noexcept;
};

struct KvLayout {
    std::vector<LayerKvLayout> layers;
    std::int64_t context_tokens = 0;

    // Rows in full, rings, both banks of the states.
    std::int64_t bytes() const noexcept;
    // What one more token of context costs, where it is not in a ring.
    std::int64_t bytes_per_token() const noexcept;
    std::int64_t ring_bytes() const noexcept;
    std::int64_t state_bytes() const noexcept;       // of one bank
    std::int64_t checkpoint_bytes() const noexcept;  // 0: going back never needs one

    // What the device that runs these of the layers keeps.
    KvLayout part(LayerRange range) const;
};

KvLayout kv_layout(const ModelSpec& spec, const KvTypes& types, WindowRows window_rows,
                   std::int64_t context_tokens, std::int64_t batch_tokens);

// Checkpoints that a session keeps by itself: as many as fit into 512 MiB, at most 8; none where a
// single one takes more than that, or where none is ever needed.
int default_checkpoints(const KvLayout& layout) noexcept;

}  // namespace greenroom::runtime
