#include "runtime/weights.h"

#include "quant/base/error.h"
#include "quant/decode.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

namespace greenroom::runtime {
namespace {

// Looks tensors up by name, checks them, and remembers which were asked for.
class Binder {
  public:
    explicit Binder(const quant::Gguf& gguf) : gguf_(gguf) {}

    bool has(const std::string& name) const { return gguf_.find_tensor(name) != nullptr; }

    // shape in ggml's order: row length first.
    TensorView matrix(const std::string& name, std::initializer_list<std::int64_t> shape) {
        const TensorView view = find(name, shape);
        if (!quant::type_info(view.type).decodable)
            fail(ErrorKind::unsupported, "{}: tensor {}: type {} cannot be a weight matrix", gguf_.path(),
                 name, quant::type_name(view.type));
        return view;
    }

    FloatArray vector(const std::string& name, std::int64_t n) { return floats(name, {n}); }

    // count vectors of n values (one per expert or channel), one after the other.
    FloatArray vectors(const std::string& name, std::int64_t n, std::int64_t count) {
        return floats(name, {n, count});
    }

    // What the arrays look at; afterwards there is nothing more to ask for.
    std::vector<std::vector<float>> take_values() { return std::move(values_); }

    // Not asked for, and no reason to refuse the file.
    void leave_unused(const std::string& name) {
        if (const quant::GgufTensor* tensor = gguf_.find_tensor(name)) used_.insert(tensor->name);
    }

    // Refuses tensors that were not asked for; those of layers from n_layers on (multi-token prediction) are
    // left alone.
    void check_all_used(const ModelSpec& spec) const {
        const int n_layers = spec.n_layers();
        for (const quant::GgufTensor& tensor : gguf_.tensors()) {
            if (used_.contains(tensor.name) || layer_of(tensor.name) >= n_layers) continue;
            if (tensor.name == "rope_freqs.weight" && spec.rope.has_divisors) continue;
            fail(ErrorKind::unsupported,
                 "{}: tensor {}: architecture {} as it is known here has no such tensor, and leaving it out "
                 "could give "
                 "wrong answers",
                 gguf_.path(), tensor.name, gguf_.find_string("general.architecture").value_or("?"));
        }
    }

  private:
    // The number in "blk.N.", or -1.
    static int layer_of(std::string_view name) {
        constexpr std::string_view kPrefix = "blk.";
        int layer = -1;
        if (name.starts_with(kPrefix))
            std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), layer);
        return layer;
    }

    FloatArray floats(const std::string& name, std::initializer_list<std::int64_t> shape) {
        TensorView view = find(name, shape);
        if (view.type != quant::Type::F32)
            fail(ErrorKind::unsupported, "{}: tensor {}: type {}, expected F32 for a norm or bias",
                 gguf_.path(), name, quant::type_name(view.type));
        std::vector<std::byte> bytes(static_cast<std::size_t>(view.bytes()));
        gguf_.read(*gguf_.find_tensor(name), bytes);
        view.data = bytes.data();
        std::vector<float>& values = values_.emplace_back(static_cast<std::size_t>(view.n_values()));
        for (std::int64_t r = 0; r < view.n_rows(); ++r)
            quant::decode_row(view.type, view.row(r), values.data() + r * view.row_values(),
                              view.row_values());
        return values;
    }

    TensorView find(const std::string& name, std::initializer_list<std::int64_t> shape) {
        const quant::GgufTensor* tensor = gguf_.find_tensor(name);
        if (tensor == nullptr)
            fail(ErrorKind::bad_input, "{}: tensor {}: missing; its metadata call for it{}", gguf_.path(),
                 name,
                 gguf_.tensors().empty() ? " (the file holds no tensors at all: a vocabulary file?)" : "");
        std::array<std::int64_t, 4> expected{1, 1, 1, 1};
        std::copy(shape.begin(), shape.end(), expected.begin());
        if (tensor->view.shape != expected)
            fail(ErrorKind::bad_input, "{}: tensor {}: shape [{}], expected [{}] from the metadata",
                 gguf_.path(), name, fmt::join(tensor->view.shape, ", "), fmt::join(expected, ", "));
        used_.insert(tensor->name);
        return tensor->view;
    }

    const quant::Gguf& gguf_;
    std::unordered_set<std::string_view> used_;
    std::vector<std::vector<float>> values_;  // of the arrays
};

MlaWeights bind_mla(Binder& binder, const std::string& block, const MlaSpec& mla, std::int64_t d_model) {
    MlaWeights w;
    const std::int64_t query_dim = mla.n_heads * (mla.nope_dim + mla.rope_dim);
    if (mla.q_rank > 0) {
        w.q_a = binder.matrix(block + "attn_q_a.weight", {d_model, mla.q_rank});
        w.q_a_norm = binder.vector(block + "attn_q_a_norm.weight", mla.q_rank);
        w.q_b = binder.matrix(block + "attn_q_b.weight", {mla.q_rank, query_dim});
    } else {
        w.q = binder.matrix(block + "attn_q.weight", {d_model, query_dim});
    }
    w.kv_a = binder.matrix(block + "attn_kv_a_mqa.weight", {d_model, mla.latent_dim + mla.rope_dim});
    w.kv_a_norm = binder.vector(block + "attn_kv_a_norm.weight", mla.latent_dim);
    if (binder.has(block + "attn_kv_b.weight")) {
        // One matrix: of each head the rows of its key, then those of its value. Some such files hold the
        // two parts besides.
        TensorView kv_b =
            binder.matrix(block + "attn_kv_b.weight",
                          {mla.latent_dim, std::int64_t{mla.n_heads} * (mla.nope_dim + mla.value_dim)});
        kv_b.n_dims = 3;
        kv_b.shape = {mla.latent_dim, mla.nope_dim + mla.value_dim, mla.n_heads, 1};
        w.k_b_transposed = kv_b.rows_of_each(0, mla.nope_dim);
        w.v_b = kv_b.rows_of_each(mla.nope_dim, mla.value_dim);
        binder.leave_unused(block + "attn_k_b.weight");
        binder.leave_unused(block + "attn_v_b.weight");
    } else {
        w.k_b = binder.matrix(block + "attn_k_b.weight", {mla.nope_dim, mla.latent_dim, mla.n_heads});
        w.v_b = binder.matrix(block + "attn_v_b.weight", {mla.latent_dim, mla.value_dim, mla.n_heads});
    }
    w.output =
        binder.matrix(block + "attn_output.weight", {std::int64_t{mla.n_heads} * mla.value_dim, d_model});
    if (const IndexerSpec& indexer = mla.indexer; indexer.n_heads > 0) {
        const std::int64_t head_dim = indexer.head_dim;
        w.indexer = {
            binder.matrix(block + "indexer.attn_q_b.weight", {mla.q_rank, indexer.n_heads * head_dim}),
            binder.matrix(block + "indexer.attn_k.weight", {d_model, head_dim}),
            binder.vector(block + "indexer.k_norm.weight", head_dim),
            binder.vector(block + "indexer.k_norm.bias", head_dim),
            binder.matrix(block + "indexer.proj.weight", {d_model, indexer.n_heads})};
    }
    return w;
}

DeltaNetWeights bind_delta_net(Binder& binder, const std::string& block, const DeltaNetSpec& delta_net,
                               std::int64_t d_model) {
    DeltaNetWeights w;
    const DeltaNetShape& shape = delta_net.shape;
    const std::int64_t n_heads = shape.n_value_heads;
    if (delta_net.projects_by_key_head) {
        w.qkvz = binder.matrix(block + "ssm_in.weight", {d_model, shape.channels() + shape.value_cols()});
    } else {
        w.qkv = binder.matrix(block + "attn_qkv.weight", {d_model, shape.channels()});
        w.z = binder.matrix(block + "attn_gate.weight", {d_model, shape.value_cols()});
    }
    if (shape.gate_order == DeltaNetShape::GateOrder::by_key_head)
        w.gates = {binder.matrix(block + "ssm_ba.weight", {d_model, 2 * n_heads})};
    else
        w.gates = {binder.matrix(block + "ssm_beta.weight", {d_model, n_heads}),
                   binder.matrix(block + "ssm_alpha.weight", {d_model, n_heads})};
    w.conv = binder.vectors(block + "ssm_conv1d.weight", shape.conv_width, shape.channels());
    w.a = binder.vector(block + "ssm_a", n_heads);
    w.dt_bias = binder.vector(block + "ssm_dt.bias", n_heads);
    w.norm = binder.vector(block + "ssm_norm.weight", shape.value_dim);
    w.output = binder.matrix(block + "ssm_out.weight", {shape.value_cols(), d_model});
    return w;
}

GqaWeights bind_gqa(Binder& binder, const std::string& block, const GqaSpec& gqa, std::int64_t d_model) {
    GqaWeights w;
    const GqaShape& shape = gqa.shape;
    const std::int64_t query_cols = std::int64_t{shape.n_heads} * shape.head_dim;
    const std::int64_t result_cols = std::int64_t{shape.n_heads} * shape.value_dim;
    const std::int64_t query_rows = gqa.has_output_gate ? 2 * query_cols : query_cols;
    const bool fused = binder.has(block + "attn_qkv.weight");
    if (fused) {
        const TensorView qkv = binder.matrix(block + "attn_qkv.weight",
                                             {d_model, query_rows + shape.key_cols() + shape.value_cols()});
        w.q = qkv.rows_of_each(0, query_rows);
        w.k = qkv.rows_of_each(query_rows, shape.key_cols());
        w.v = qkv.rows_of_each(query_rows + shape.key_cols(), shape.value_cols());
    } else {
        w.q = binder.matrix(block + "attn_q.weight", {d_model, query_rows});
        w.k = binder.matrix(block + "attn_k.weight", {d_model, shape.key_cols()});
        w.v = binder.matrix(block + "attn_v.weight", {d_model, shape.value_cols()});
    }
    w.output = binder.matrix(block + "attn_output.weight", {result_cols, d_model});
    if (gqa.has_qkv_bias && fused) {
        const auto n_query = static_cast<std::size_t>(query_rows);
        const auto n_key = static_cast<std::size_t>(shape.key_cols());
        const auto n_value = static_cast<std::size_t>(shape.value_cols());
        const FloatArray all =
            binder.vector(block + "attn_qkv.bias", query_rows + shape.key_cols() + shape.value_cols());
        w.q_bias = all.first(n_query);
        w.k_bias = all.subspan(n_query, n_key);
        w.v_bias = all.last(n_value);
    } else if (gqa.has_qkv_bias) {
        w.q_bias = binder.vector(block + "attn_q.bias", query_cols);
        w.k_bias = binder.vector(block + "attn_k.bias", shape.key_cols());
        w.v_bias = binder.vector(block + "attn_v.bias", shape.value_cols());
    }
    if (gqa.has_output_bias) w.output_bias = binder.vector(block + "attn_output.bias", d_model);
    if (gqa.qk_norm == GqaSpec::QkNorm::per_head || gqa.qk_norm == GqaSpec::QkNorm::whole_row) {
        const bool whole = gqa.qk_norm == GqaSpec::QkNorm::whole_row;
        w.q_norm = binder.vector(block + "attn_q_norm.weight", whole ? query_cols : shape.head_dim);
        w.k_norm = binder.vector(block + "attn_k_norm.weight", whole ? shape.key_cols() : shape.head_dim);
    }
    if (gqa.has_sinks) w.sinks = binder.vector(block + "attn_sinks.weight", shape.n_heads);
    return w;
}

// suffix: "" for a dense layer, "_shexp" for shared experts.
DenseFfnWeights bind_dense(Binder& binder, const std::string& block, const std::string& suffix,
                           std::int64_t d_model, std::int64_t d_ff) {
    return {binder.matrix(block + "ffn_gate" + suffix + ".weight", {d_model, d_ff}),
            binder.matrix(block + "ffn_up" + suffix + ".weight", {d_model, d_ff}),
            binder.matrix(block + "ffn_down" + suffix + ".weight", {d_ff, d_model})};
}

// Files hold the experts in one of three ways: a tensor for each (the first Mixtral files), the same matrix
// of all of them in one, or that with gate and up fused, gate first.
std::vector<ExpertWeights> bind_experts(Binder& binder, const std::string& block, const MoeFfnSpec& moe,
                                        std::int64_t d_model) {
    const int n_experts = moe.router.n_experts;
    std::vector<ExpertWeights> experts(static_cast<std::size_t>(n_experts));
    if (binder.has(block + "ffn_gate.0.weight")) {
        for (std::size_t e = 0; e < experts.size(); ++e)
            experts[e] = {binder.matrix(fmt::format("{}ffn_gate.{}.weight", block, e), {d_model, moe.d_ff}),
                          binder.matrix(fmt::format("{}ffn_up.{}.weight", block, e), {d_model, moe.d_ff}),
                          binder.matrix(fmt::format("{}ffn_down.{}.weight", block, e), {moe.d_ff, d_model})};
        return experts;
    }
    TensorView gate;
    TensorView up;
    if (binder.has(block + "ffn_gate_up_exps.weight")) {
        const TensorView fused = binder.matrix(block + "ffn_gate_up_exps.weight",
                                               {d_model, 2 * std::int64_t{moe.d_ff}, n_experts});
        gate = fused.rows_of_each(0, moe.d_ff);
        up = fused.rows_of_each(moe.d_ff, moe.d_ff);
    } else {
        gate = binder.matrix(block + "ffn_gate_exps.weight", {d_model, moe.d_ff, n_experts});
        up = binder.matrix(block + "ffn_up_exps.weight", {d_model, moe.d_ff, n_experts});
    }
    const TensorView down = binder.matrix(block + "ffn_down_exps.weight", {moe.d_ff, d_model, n_experts});
    for (int e = 0; e < n_experts; ++e)
        experts[static_cast<std::size_t>(e)] = {gate.matrix(e), up.matrix(e), down.matrix(e)};
    return experts;
}

MoeFfnWeights bind_moe(Binder& binder, const std::string& block, const MoeFfnSpec& moe,
                       std::int64_t d_model) {
    MoeFfnWeights w;
    const int n_experts = moe.router.n_experts;
    w.router = binder.matrix(block + "ffn_gate_inp.weight", {d_model, n_experts});
    if (moe.has_selection_bias) w.selection_bias = binder.vector(block + "exp_probs_b.bias", n_experts);
    w.experts = bind_experts(binder, block, moe, d_model);
    if (moe.has_router_bias) w.router_bias = binder.vector(block + "ffn_gate_inp.bias", n_experts);
    if (moe.has_expert_bias) {
        w.gate_bias = binder.vectors(block + "ffn_gate_exps.bias", moe.d_ff, n_experts);
        w.up_bias = binder.vectors(block + "ffn_up_exps.bias", moe.d_ff, n_experts);
        w.down_bias = binder.vectors(block + "ffn_down_exps.bias", d_model, n_experts);
    }
    if (moe.shared_d_ff > 0) w.shared = bind_dense(binder, block, "_shexp", d_model, moe.shared_d_ff);
    if (moe.has_shared_gate) w.shared_gate = binder.matrix(block + "ffn_gate_inp_shexp.weight", {d_model, 1});
    return w;
}

}  // namespace

Weights bind_weights(const quant::Gguf& gguf, const ModelSpec& spec) {
    Binder binder(gguf);
    Weights weights;
    const std::int64_t d_model = spec.d_model;
    weights.token_embedding = binder.matrix("token_embd.weight", {d_model, spec.n_vocab});
    weights.output_norm = binder.vector("output_norm.weight", d_model);
    weights.output = binder.has("output.weight") ? binder.matrix("output.weight", {d_model, spec.n_vocab})
                                                 : weights.token_embedding;
    for (int i = 0; i < spec.n_layers(); ++i) {
        const LayerSpec& layer = spec.layers[static_cast<std::size_t>(i)];
        const std::string block = fmt::format("blk.{}.", i);
        LayerWeights w;
        w.attention_norm = binder.vector(block + "attn_norm.weight", d_model);
        if (const auto* mla = std::get_if<MlaSpec>(&layer.attention))
            w.attention = bind_mla(binder, block, *mla, d_model);
        else if (const auto* delta_net = std::get_if<DeltaNetSpec>(&layer.attention))
            w.attention = bind_delta_net(binder, block, *delta_net, d_model);
        else
            w.attention = bind_gqa(binder, block, std::get<GqaSpec>(layer.attention), d_model);
        w.ffn_norm = binder.vector(block + spec.ffn_norm_name + ".weight", d_model);
        if (const auto* moe = std::get_if<MoeFfnSpec>(&layer.ffn))
            w.ffn = bind_moe(binder, block, *moe, d_model);
        else
            w.ffn = bind_dense(binder, block, "", d_model, std::get<DenseFfnSpec>(layer.ffn).d_ff);
        weights.layers.push_back(std::move(w));
    }
    binder.check_all_used(spec);
    weights.values = std::make_shared<const std::vector<std::vector<float>>>(binder.take_values());
    return weights;
}

void for_each_resident(Weights& weights, LayerRange layers,
                       const std::function<void(TensorView&)>& visit_matrix,
                       const std::function<void(FloatArray&)>& visit_array) {
    const auto matrices = [&visit_matrix](std::initializer_list<TensorView*> views) {
        for (TensorView* view : views)
            if (view->data != nullptr) visit_matrix(*view);
    };
    const auto arrays = [&visit_array](std::initializer_list<FloatArray*> all) {
        for (FloatArray* array : all)
            if (!array->empty()) visit_array(*array);
    };
    const auto n_layers = static_cast<int>(weights.layers.size());
    if (layers.contains(0)) matrices({&weights.token_embedding});
    if (layers.contains(n_layers)) {
        matrices({&weights.output});
        arrays({&weights.output_norm});
    }
    for (int i = layers.first; i < std::min(layers.end, n_layers); ++i) {
        LayerWeights& layer = weights.layers[static_cast<std::size_t>(i)];
        arrays({&layer.attention_norm, &layer.ffn_norm});
        if (auto* mla = std::get_if<MlaWeights>(&layer.attention)) {
            matrices({&mla->q, &mla->q_a, &mla->q_b, &mla->kv_a, &mla->k_b, &mla->k_b_transposed, &mla->v_b,
                      &mla->output});
            arrays({&mla->q_a_norm, &mla->kv_a_norm});
            if (mla->indexer) {
                matrices({&mla->indexer->q, &mla->indexer->k, &mla->indexer->head_weights});
                arrays({&mla->indexer->k_norm, &mla->indexer->k_norm_bias});
            }
        } else if (auto* delta_net = std::get_if<DeltaNetWeights>(&layer.attention)) {
            matrices({&delta_net->qkv, &delta_net->z, &delta_net->qkvz, &delta_net->output});
            for (TensorView& gate : delta_net->gates) visit_matrix(gate);
            arrays({&delta_net->conv, &delta_net->a, &delta_net->dt_bias, &delta_net->norm});
        } else {
            auto& gqa = std::get<GqaWeights>(layer.attention);
            matrices({&gqa.q, &gqa.k, &gqa.v, &gqa.output});
            arrays({&gqa.q_bias, &gqa.k_bias, &gqa.v_bias, &gqa.output_bias, &gqa.q_norm, &gqa.k_norm,
                    &gqa.sinks});
        }
        const auto visit_dense = [&](DenseFfnWeights& dense) {
            matrices({&dense.gate, &dense.up, &dense.down});
        };
        if (auto* moe = std::get_if<MoeFfnWeights>(&layer.ffn)) {
            matrices({&moe->router});
            if (moe->shared) visit_dense(*moe->shared);
            if (moe->shared_gate) matrices({&*moe->shared_gate});
            arrays(
                {&moe->selection_bias, &moe->router_bias, &moe->gate_bias, &moe->up_bias, &moe->down_bias});
        } else {
            visit_dense(std::get<DenseFfnWeights>(layer.ffn));
        }
    }
}

}  // namespace greenroom::runtime
