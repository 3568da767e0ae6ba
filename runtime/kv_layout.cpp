#include "runtime/kv_layout.h"

#include "quant/base/error.h"

#include <algorithm>
#include <array>
#include <string>

namespace greenroom::runtime {
namespace {

constexpr std::int64_t kFloatBytes = sizeof(float);

struct NamedType {
    std::string_view name;
    quant::Type type;
};

constexpr std::array<NamedType, 5> kKvTypes{{
    {"f32", quant::Type::F32},
    {"f16", quant::Type::F16},
    {"bf16", quant::Type::BF16},
    {"q8_0", quant::Type::Q8_0},
    {"q4_0", quant::Type::Q4_0},
}};

void check_blocks(quant::Type type, std::int64_t n_values, std::string_view option, std::string_view what) {
    const int block = quant::type_info(type).block_values;
    if (n_values % block != 0)
        fail(ErrorKind::unsupported,
             "{} {}: {} of this model have {} values per head, not a multiple of the {} that make a block of "
             "this type. Use {} f16",
             option, quant::type_name(type), what, n_values, block, option);
}

// Most positions that a token can see, itself included; 0: all.
std::int64_t window_of(const AttentionSpec& attention) noexcept {
    const auto* gqa = std::get_if<GqaSpec>(&attention);
    return gqa == nullptr ? 0 : std::max(gqa->shape.window, gqa->shape.chunk);
}

template <class Part>
std::int64_t sum(const std::vector<LayerKvLayout>& layers, Part&& part) noexcept {
    std::int64_t total = 0;
    for (const LayerKvLayout& layer : layers) total += part(layer);
    return total;
}

}  // namespace

quant::Type parse_kv_type(std::string_view name) {
    std::string known;
    for (const NamedType& entry : kKvTypes) {
        if (entry.name == name) return entry.type;
        known += known.empty() ? "" : ", ";
        known += entry.name;
    }
    fail(ErrorKind::bad_input, "'{}' is not a type of the KV cache; expected one of {}", name, known);
}

std::string_view kv_type_name(quant::Type type) noexcept {
    const auto* found = std::find_if(kKvTypes.begin(), kKvTypes.end(),
                                     [type](const NamedType& entry) { return entry.type == type; });
    return found == kKvTypes.end() ? quant::type_name(type) : found->name;
}

void check_kv_types(const ModelSpec& spec, const KvTypes& types) {
    for (const LayerSpec& layer : spec.layers) {
        if (const auto* mla = std::get_if<MlaSpec>(&layer.attention)) {
            check_blocks(types.keys, mla->latent_dim, "-ctk", "the latents");
            check_blocks(types.keys, mla->rope_dim, "-ctk", "the rotated keys");
            check_blocks(types.keys, mla->indexer.head_dim, "-ctk", "the indexer's keys");
        } else if (const auto* gqa = std::get_if<GqaSpec>(&layer.attention)) {
            check_blocks(types.keys, gqa->shape.head_dim, "-ctk", "the keys");
            check_blocks(types.values, gqa->shape.value_dim, "-ctv", "the values");
        }
    }
}

KvRowValues kv_row_values(const AttentionSpec& attention) noexcept {
    if (const auto* mla = std::get_if<MlaSpec>(&attention))
        return {mla->latent_dim + mla->rope_dim, 0, mla->indexer.head_dim};
    if (const auto* gqa = std::get_if<GqaSpec>(&attention))
        return {gqa->shape.key_cols(), gqa->shape.value_cols(), 0};
    return {};
}

std::int64_t LayerKvLayout::checkpoint_bytes() const noexcept {
    return window * row_bytes() + state_values * kFloatBytes;
}

KvLayout KvLayout::part(LayerRange range) const {
    KvLayout some;
    some.context_tokens = context_tokens;
    for (int i = range.first; i < std::min(range.end, static_cast<int>(layers.size())); ++i)
        some.layers.push_back(layers[static_cast<std::size_t>(i)]);
    return some;
}

std::int64_t KvLayout::bytes() const noexcept {
    return sum(layers, [](const LayerKvLayout& layer) { return layer.bytes(); }) + 2 * state_bytes();
}

std::int64_t KvLayout::bytes_per_token() const noexcept {
    return sum(layers, [](const LayerKvLayout& layer) { return layer.window > 0 ? 0 : layer.row_bytes(); });
}

std::int64_t KvLayout::ring_bytes() const noexcept {
    return sum(layers, [](const LayerKvLayout& layer) { return layer.window > 0 ? layer.bytes() : 0; });
}

std::int64_t KvLayout::state_bytes() const noexcept {
    return sum(layers, [](const LayerKvLayout& layer) { return layer.state_values * kFloatBytes; });
}

std::int64_t KvLayout::checkpoint_bytes() const noexcept {
    return sum(layers, [](const LayerKvLayout& layer) { return layer.checkpoint_bytes(); });
}

KvLayout kv_layout(const ModelSpec& spec, const KvTypes& types, WindowRows window_rows,
                   std::int64_t context_tokens, std::int64_t batch_tokens) {
    KvLayout layout;
    layout.context_tokens = context_tokens;
    for (const LayerSpec& layer : spec.layers) {
        LayerKvLayout l;
        if (const auto* delta_net = std::get_if<DeltaNetSpec>(&layer.attention)) {
            l.state_values = delta_net->shape.conv_state_values() + delta_net->shape.head_state_values();
        } else {
            l.row = kv_row_values(layer.attention);
            if (const auto* gqa = std::get_if<GqaSpec>(&layer.attention)) l.n_heads = gqa->shape.n_kv_heads;
            l.key_bytes = quant::row_bytes(types.keys, l.row.keys);
            l.value_bytes = quant::row_bytes(types.values, l.row.values);
            l.index_bytes = quant::row_bytes(types.keys, l.row.index_keys);
            l.n_rows = context_tokens;
            const std::int64_t window = window_of(layer.attention);
            if (window_rows == WindowRows::ring && window > 0 && window + batch_tokens < context_tokens) {
                l.window = window;
                l.n_rows = window + batch_tokens;
            }
        }
        layout.layers.push_back(l);
    }
    return layout;
}

int default_checkpoints(const KvLayout& layout) noexcept {
    constexpr std::int64_t kBudget = std::int64_t{512} << 20;
    constexpr std::int64_t kMost = 8;
    const std::int64_t bytes = layout.checkpoint_bytes();
    return bytes == 0 ? 0 : static_cast<int>(std::min(kMost, kBudget / bytes));
}

}  // namespace greenroom::runtime
