#pragma once

// What several architectures read from metadata in the same way.

#include "runtime/arch/metadata.h"
#include "runtime/model_spec.h"
#include "runtime/rope.h"

namespace greenroom::runtime {

// embedding_length, context_length and the norm's epsilon.
ModelSpec read_dimensions(const ArchMetadata& meta);

// Heads and their dimensions for attention with grouped queries; key_length and value_length default to
// embedding_length / head_count, the scale to 1/√head_dim.
GqaSpec read_gqa(const ArchMetadata& meta);

// rope.scaling.*: none, linear or YaRN.
RopeScaling read_rope_scaling(const ArchMetadata& meta);

// Rotary embedding of the first rope.dimension_count values of a head (default: all of them). YaRN's
// magnitude multiplies cosine and sine.
RopeSpec read_rope(const ArchMetadata& meta, int head_dim, RopePairing pairing, const RopeScaling& scaling);

// expert_count, expert_used_count and expert_feed_forward_length (default: feed_forward_length), with softmax
// scoring.
MoeFfnSpec read_moe(const ArchMetadata& meta);

// Whether every block has the tensor; Error{unsupported} where only some do.
bool all_blocks_have(const ArchMetadata& meta, int n_layers, const char* tensor);

// Blocks that are run: block_count less the layers of multi-token prediction, which stand at the end.
int read_n_layers(const ArchMetadata& meta);

}  // namespace greenroom::runtime
