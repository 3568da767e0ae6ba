#include "runtime/tensor_place.h"

#include <charconv>
#include <optional>
#include <system_error>

namespace greenroom::runtime {
namespace {

// Takes a number and the point after it from the front of a tensor name.
std::optional<std::int64_t> take_index(std::string_view& name) {
    std::int32_t index = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
    if (error != std::errc{} || index < 0) return std::nullopt;
    name.remove_prefix(static_cast<std::size_t>(end - name.data()));
    if (!name.starts_with('.')) return std::nullopt;
    name.remove_prefix(1);
    return index;
}

}  // namespace

TensorPlace place_of(std::string_view name) {
    TensorPlace place;
    constexpr std::string_view kLayerPrefix = "blk.";
    if (!name.starts_with(kLayerPrefix)) return place;
    name.remove_prefix(kLayerPrefix.size());
    const auto layer = take_index(name);
    if (!layer) return place;
    place.layer = *layer;

    for (const std::string_view matrix : {"ffn_gate_up", "ffn_gate", "ffn_up", "ffn_down"}) {
        if (!name.starts_with(matrix)) continue;
        name.remove_prefix(matrix.size());
        if (name.starts_with("_exps.")) {
            place.is_expert = true;
        } else if (name.starts_with('.')) {
            name.remove_prefix(1);
            const auto expert = take_index(name);
            if (expert && name == "weight") {
                place.is_expert = true;
                place.expert = *expert;
            }
        }
        break;
    }
    return place;
}

}  // namespace greenroom::runtime
