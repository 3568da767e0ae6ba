#include "runtime/model_inventory.h"

#include "runtime/arch/registry.h"
#include "runtime/file_type.h"
#include "runtime/tensor_place.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <string_view>

namespace greenroom::runtime {
namespace {

// Tensors of a crafted file may overlap, so that their sum is bounded by nothing.
void add(std::int64_t& sum, std::int64_t value) {
    constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
    sum = value > kMost - sum ? kMost : sum + value;
}

// A count that the metadata state; 0 when it is missing, no integer or too large to be true.
std::int64_t count_of(const quant::Gguf& gguf, const std::string& key) {
    const quant::GgufValue* value = gguf.find(key);
    const auto number = value != nullptr ? value->as_uint() : std::nullopt;
    constexpr std::uint64_t kMost = std::numeric_limits<std::int32_t>::max();
    return number && *number <= kMost ? static_cast<std::int64_t>(*number) : 0;
}

std::string string_of(const quant::Gguf& gguf, std::string_view key, std::string_view otherwise) {
    const quant::GgufValue* value = gguf.find(key);
    return std::string((value != nullptr ? value->as_string() : std::nullopt).value_or(otherwise));
}

// Sums up tensor by tensor.
class Count {
  public:
    Count(const quant::Gguf& gguf, ModelInventory& inventory) : gguf_(gguf), inventory_(inventory) {
        const std::string prefix = inventory.architecture + ".";
        inventory_.n_layers = count_of(gguf, prefix + "block_count");
        inventory_.n_experts = count_of(gguf, prefix + "expert_count");
        inventory_.top_k = count_of(gguf, prefix + "expert_used_count");
        inventory_.context_length = count_of(gguf, prefix + "context_length");
        // Blocks that predict further tokens come last and do not run for an ordinary one.
        const std::int64_t n_predicting = count_of(gguf, prefix + "nextn_predict_layers");
        if (n_predicting < inventory_.n_layers) first_idle_layer_ = inventory_.n_layers - n_predicting;
        embedding_is_output_ = gguf.find_tensor("output.weight") == nullptr;
    }

    void add_all() {
        for (const quant::GgufTensor& tensor : gguf_.tensors()) add_tensor(tensor);

        if (inventory_.n_layers == 0) inventory_.n_layers = last_layer_ + 1;
        if (inventory_.n_experts == 0) inventory_.n_experts = most_experts_;
        inventory_.top_k = std::min(inventory_.top_k, inventory_.n_experts);
        inventory_.n_moe_layers = static_cast<std::int64_t>(stacked_expert_bytes_.size());
        for (const auto& [layer, bytes] : stacked_expert_bytes_) {
            std::int64_t one = bytes;
            add(one, largest_single_expert(layer));
            inventory_.one_expert_bytes = std::max(inventory_.one_expert_bytes, one);
        }
        add(inventory_.n_active_parameters, used_of(active_expert_values_));
        add(inventory_.active_bytes, used_of(active_expert_bytes_));
        finish_types();
    }

  private:
    void add_tensor(const quant::GgufTensor& tensor) {
        const TensorView& view = tensor.view;
        const TensorPlace place = place_of(tensor.name);
        const bool is_idle = place.layer >= first_idle_layer_;
        add(inventory_.n_parameters, view.n_values());
        add_type(view);
        last_layer_ = std::max(last_layer_, place.layer);
        if (place.is_expert) {
            add(inventory_.expert_bytes, view.bytes());
            add_expert(place, view);
            if (!is_idle) {
                add(active_expert_values_, view.n_values());
                add(active_expert_bytes_, view.bytes());
            }
            return;
        }
        add(inventory_.resident_bytes, view.bytes());
        if (is_idle) return;
        const bool one_row = tensor.name == "token_embd.weight" && !embedding_is_output_;
        add(inventory_.n_active_parameters, one_row ? view.row_values() : view.n_values());
        add(inventory_.active_bytes, one_row ? view.row_bytes() : view.bytes());
    }

    void add_type(const TensorView& view) {
        TypeShare& share = types_.try_emplace(view.type, TypeShare{.type = view.type}).first->second;
        ++share.n_tensors;
        add(share.n_values, view.n_values());
        add(share.bytes, view.bytes());
    }

    void add_expert(const TensorPlace& place, const TensorView& view) {
        std::int64_t& stacked = stacked_expert_bytes_[place.layer];
        if (place.expert >= 0) {
            add(single_expert_bytes_[place.layer][place.expert], view.bytes());
            most_experts_ = std::max(most_experts_, place.expert + 1);
            return;
        }
        // The last dimension counts the experts: of matrices, and of biases and scales too.
        const std::int64_t n_experts = view.shape[static_cast<std::size_t>(view.n_dims - 1)];
        add(stacked, view.bytes() / n_experts);
        most_experts_ = std::max(most_experts_, n_experts);
    }

    std::int64_t largest_single_expert(std::int64_t layer) const {
        std::int64_t largest = 0;
        if (const auto found = single_expert_bytes_.find(layer); found != single_expert_bytes_.end())
            for (const auto& [expert, bytes] : found->second) largest = std::max(largest, bytes);
        return largest;
    }

    // top_k of n_experts parts; all where top_k is not known. Both are below 2^31, or the product could
    // overflow.
    std::int64_t used_of(std::int64_t all) const {
        const std::int64_t n = inventory_.n_experts;
        const std::int64_t k = inventory_.top_k;
        if (k == 0 || n > std::numeric_limits<std::int32_t>::max()) return all;
        return all / n * k + all % n * k / n;
    }

    void finish_types() {
        for (const auto& [type, share] : types_) inventory_.types.push_back(share);
        std::sort(inventory_.types.begin(), inventory_.types.end(),
                  [](const TypeShare& a, const TypeShare& b) {
                      return a.bytes != b.bytes ? a.bytes > b.bytes : a.type < b.type;
                  });
    }

    const quant::Gguf& gguf_;
    ModelInventory& inventory_;
    std::int64_t first_idle_layer_ = std::numeric_limits<std::int64_t>::max();
    bool embedding_is_output_ = false;
    std::int64_t last_layer_ = -1;
    std::int64_t most_experts_ = 0;
    std::int64_t active_expert_values_ = 0;  // of the layers that run
    std::int64_t active_expert_bytes_ = 0;
    std::map<std::int64_t, std::int64_t> stacked_expert_bytes_;  // layer → bytes of one expert of its stacks
    std::map<std::int64_t, std::map<std::int64_t, std::int64_t>>
        single_expert_bytes_;  // layer → expert → bytes
    std::map<quant::Type, TypeShare> types_;
};

std::string file_type_of(const quant::Gguf& gguf, const std::vector<TypeShare>& types) {
    const quant::GgufValue* value = gguf.find("general.file_type");
    const auto number = value != nullptr ? value->as_uint() : std::nullopt;
    std::string_view name = number ? file_type_name(*number) : std::string_view();
    if (name.empty() && !types.empty()) name = quant::type_name(types.front().type);
    return std::string(name);
}

}  // namespace

ModelInventory take_inventory(const quant::Gguf& gguf) {
    ModelInventory inventory;
    inventory.architecture = string_of(gguf, "general.architecture", "unknown");
    inventory.name = string_of(gguf, "general.name", "");
    inventory.known_architecture = is_known_architecture(inventory.architecture);
    Count(gguf, inventory).add_all();
    inventory.file_type = file_type_of(gguf, inventory.types);
    return inventory;
}

}  // namespace greenroom::runtime
