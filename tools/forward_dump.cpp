#include "tools/forward_dump.h"

#include "quant/base/error.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <system_error>

namespace greenroom::tools {
namespace {

void make_folder(const std::string& path) {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (error) fail(ErrorKind::io, "{}: cannot create the folder: {}", path, error.message());
}

std::string file_in(const std::string& folder, const char* name) {
    return (std::filesystem::path(folder) / name).string();
}

}  // namespace

ForwardDump::ForwardDump(const ForwardDumpOptions& options, const runtime::ModelSpec& spec,
                         std::int64_t n_tokens)
    : router_folder_(options.router_folder), n_tokens_(n_tokens) {
    if (!options.hidden_folder.empty()) {
        make_folder(options.hidden_folder);
        const std::array<std::int64_t, 3> shape{spec.n_layers() + 1, n_tokens, spec.d_model};
        hidden_.emplace(file_in(options.hidden_folder, "hidden.npy"), shape);
    }
    if (!router_folder_.empty()) make_folder(router_folder_);
}

void ForwardDump::on_hidden(int layer, std::int64_t first_position, ConstMatrixView hidden) {
    if (!hidden_) return;
    for (std::int64_t r = 0; r < hidden.n_rows; ++r) {
        const std::int64_t row = (layer + 1) * n_tokens_ + first_position + r;
        hidden_->write_at(row * hidden.n_cols, hidden.row_span(r));
    }
}

void ForwardDump::on_router(const runtime::RouterChoice& choice) {
    if (router_folder_.empty()) return;
    const std::int64_t top_k = choice.rule.top_k;
    GR_CHECK(top_k_ == 0 || top_k_ == top_k);
    top_k_ = top_k;
    std::vector<Choice>& routing = routing_[choice.layer];
    routing.resize(static_cast<std::size_t>(n_tokens_ * top_k));
    auto row = routing.begin() + choice.first_position * top_k;
    const auto step = static_cast<std::size_t>(top_k);
    for (std::size_t i = 0; i < choice.experts.size(); i += step, row += top_k) {
        for (std::size_t k = 0; k < step; ++k)
            row[static_cast<std::ptrdiff_t>(k)] = {choice.experts[i + k], choice.weights[i + k]};
        // A selection bias may have put them into another order.
        std::stable_sort(row, row + top_k,
                         [](const Choice& a, const Choice& b) { return a.weight > b.weight; });
    }
}

void ForwardDump::commit() {
    if (hidden_) hidden_->commit();
    if (!router_folder_.empty()) write_routing();
}

void ForwardDump::write_routing() const {
    const auto n_layers = static_cast<std::int64_t>(routing_.size());
    const std::array<std::int64_t, 1> layers_shape{n_layers};
    const std::array<std::int64_t, 3> shape{n_layers, n_tokens_, top_k_};
    NpyWriter<std::int32_t> layers(file_in(router_folder_, "router_layers.npy"), layers_shape);
    NpyWriter<std::int32_t> ids(file_in(router_folder_, "router_ids.npy"), shape);
    NpyWriter<float> weights(file_in(router_folder_, "router_weights.npy"), shape);
    std::int64_t m = 0;
    for (const auto& [layer, routing] : routing_) {
        const std::int32_t number = layer;
        layers.write_at(m, {&number, 1});
        const std::int64_t first = m * n_tokens_ * top_k_;
        std::vector<std::int32_t> layer_ids;
        std::vector<float> layer_weights;
        for (const Choice& choice : routing) {
            layer_ids.push_back(choice.expert);
            layer_weights.push_back(choice.weight);
        }
        ids.write_at(first, layer_ids);
        weights.write_at(first, layer_weights);
        ++m;
    }
    layers.commit();
    ids.commit();
    weights.commit();
}

}  // namespace greenroom::tools
