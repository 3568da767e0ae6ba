#include "cache/policy.h"

#include "quant/base/error.h"

#include <algorithm>

namespace greenroom::cache {

std::string_view scope_name(Scope scope) noexcept { return scope == Scope::layer ? "layer" : "global"; }

Policy::Policy(const CacheShape& shape, Scope scope) : shape_(shape), scope_(scope) {
    GR_CHECK(shape.n_layers > 0 && shape.n_experts > 0 && shape.top_k > 0 && shape.top_k <= shape.n_experts);
    const std::int64_t n = std::int64_t{shape.n_layers} * shape.n_experts;
    GR_CHECK(shape.n_slots >= 0 && shape.n_slots <= n);
    slots_.resize(static_cast<std::size_t>(n));
    scores_.resize(static_cast<std::size_t>(n));
    last_use_.resize(static_cast<std::size_t>(n));
    layers_.resize(static_cast<std::size_t>(shape.n_layers));
}

std::size_t Policy::index_of(ExpertId id) const {
    GR_CHECK(id.layer >= 0 && id.layer < shape_.n_layers && id.index >= 0 && id.index < shape_.n_experts);
    return static_cast<std::size_t>(id.layer) * static_cast<std::size_t>(shape_.n_experts) +
           static_cast<std::size_t>(id.index);
}

std::span<double> Policy::scores_of(int layer) {
    layers_[static_cast<std::size_t>(layer)].is_current = false;
    return std::span(scores_).subspan(index_of({layer, 0}), static_cast<std::size_t>(shape_.n_experts));
}

void Policy::on_request(const Request& request) {
    ++clock_;
    for (const std::int32_t i : request.experts) last_use_[index_of({request.layer, i})] = clock_;
    update(request);
}

void Policy::on_prediction(const Prediction& prediction) { update(prediction); }

void Policy::on_load(ExpertId id) {
    Slot& slot = slots_[index_of(id)];
    GR_CHECK(!slot.resident);
    slot.resident = true;
    LayerBooks& layer = layers_[static_cast<std::size_t>(id.layer)];
    ++layer.n_resident;
    layer.is_current = false;
    ++n_resident_;
    loaded(id);
}

void Policy::on_evict(ExpertId id) {
    Slot& slot = slots_[index_of(id)];
    GR_CHECK(slot.resident && slot.n_pins == 0);
    slot.resident = false;
    LayerBooks& layer = layers_[static_cast<std::size_t>(id.layer)];
    --layer.n_resident;
    layer.is_current = false;
    --n_resident_;
}

void Policy::pin(ExpertId id) {
    Slot& slot = slots_[index_of(id)];
    GR_CHECK(slot.n_pins < UINT16_MAX);
    ++slot.n_pins;
    layers_[static_cast<std::size_t>(id.layer)].is_current = false;
}

void Policy::unpin(ExpertId id) {
    Slot& slot = slots_[index_of(id)];
    GR_CHECK(slot.n_pins > 0);
    --slot.n_pins;
    layers_[static_cast<std::size_t>(id.layer)].is_current = false;
}

bool Policy::is_evictable(ExpertId id) const {
    const Slot& slot = slots_[index_of(id)];
    return slot.resident && slot.n_pins == 0;
}

int Policy::n_evictable(int layer) const {
    const auto first = slots_.begin() + static_cast<std::ptrdiff_t>(index_of({layer, 0}));
    return static_cast<int>(std::count_if(
        first, first + shape_.n_experts, [](const Slot& slot) { return slot.resident && slot.n_pins == 0; }));
}

std::optional<ExpertId> Policy::victim(int layer) {
    const bool one_layer = scope_ == Scope::layer;
    std::optional<ExpertId> best;
    for (int i = one_layer ? layer : 0; i < (one_layer ? layer + 1 : shape_.n_layers); ++i) {
        LayerBooks& books = layers_[static_cast<std::size_t>(i)];
        if (!books.is_current) {
            books.victim = find_victim(i);
            books.is_current = true;
        }
        if (books.victim < 0) continue;
        const ExpertId candidate{i, books.victim};
        if (!best || goes_before(candidate, *best)) best = candidate;
    }
    return best;
}

std::size_t Policy::most_wanted(int layer, std::span<std::int32_t> experts) const {
    // A few of many: kept sorted while going through all.
    std::size_t n = 0;
    for (std::int32_t i = 0; i < shape_.n_experts; ++i) {
        if (is_resident({layer, i})) continue;
        if (n == experts.size()) {
            if (n == 0 || !goes_before({layer, experts[n - 1]}, {layer, i})) continue;
            --n;
        }
        std::size_t place = n++;
        for (; place > 0 && goes_before({layer, experts[place - 1]}, {layer, i}); --place)
            experts[place] = experts[place - 1];
        experts[place] = i;
    }
    return n;
}

bool Policy::goes_before(ExpertId a, ExpertId b) const {
    const std::size_t i = index_of(a);
    const std::size_t j = index_of(b);
    return scores_[i] != scores_[j] ? scores_[i] < scores_[j] : last_use_[i] < last_use_[j];
}

std::int32_t Policy::find_victim(int layer) const {
    const std::size_t first = index_of({layer, 0});
    std::int32_t best = -1;
    double best_score = 0;
    for (std::int32_t i = 0; i < shape_.n_experts; ++i) {
        const std::size_t at = first + static_cast<std::size_t>(i);
        if (!slots_[at].resident || slots_[at].n_pins > 0) continue;
        const double score = scores_[at];
        if (best >= 0 && score > best_score) continue;
        if (best >= 0 && score == best_score &&
            last_use_[at] >= last_use_[first + static_cast<std::size_t>(best)])
            continue;
        best = i;
        best_score = score;
    }
    return best;
}

}  // namespace greenroom::cache
