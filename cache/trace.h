#pragma once

// Trace: what the routers of a model chose, token by token; what policies are judged by. A folder of .npy
// arrays:
//
//     trace.json      {"tokens": T, "layers": L, "k": K, "n_expert": E}
//     experts.npy     uint16  [T, L, K]  the chosen experts, by falling score
//     weights.npy     float16 [T, L, K]  their factors
//     sequence.npy    int32   [T]        a new number starts a new text: there is no previous token
//     phase.npy       uint8   [T]        0 prompt, 1 decode
//     scores.npy      float16 [T, L, E]  the router's probability of every expert         (optional)
//     predicted_1.npy uint16  [T, L, K]  what this layer's router would pick if it saw the state of the
//                                        layer before it, the likeliest first             (optional)
//     predicted_2.npy, predicted_3.npy   the same with the state of two and of three layers before
//
// Nothing is predicted for the first layers: 65535.
//
// Layers are MoE layers. A row of K times 65535 says that nothing was recorded there. Reading checks every
// value, so that a Trace can be replayed without a check.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::cache {

struct Trace {
    std::string name;  // of the folder
    std::int64_t n_tokens = 0;
    int n_layers = 0;
    int top_k = 0;
    int n_experts = 0;

    std::vector<std::uint16_t> experts;  // [n_tokens, n_layers, top_k]
    std::vector<float> weights;          // the same, or empty
    std::vector<std::int32_t> sequence;  // [n_tokens]
    std::vector<std::uint8_t> phase;     // [n_tokens]
    std::vector<std::uint16_t> scores;   // [n_tokens, n_layers, n_experts], bits of float16; or empty
    // By distance, from 1 on: as experts, or empty.
    static constexpr std::size_t kMostDistance = 3;
    std::array<std::vector<std::uint16_t>, kMostDistance> predicted;

    // All values of a row of experts or predicted where nothing was recorded.
    static constexpr std::uint16_t kAbsent = 65535;

    // Where the top_k values of a token in a layer begin.
    std::size_t row(std::int64_t token, int layer) const noexcept {
        return static_cast<std::size_t>((token * n_layers + layer) * top_k);
    }
};

// Error{io} when a file cannot be read, {bad_input} when it does not hold what is written above. weights.npy,
// sequence.npy and phase.npy may be missing: then there are no weights, one text, all decode.
Trace read_trace(const std::string& folder);

// The files that a trace may consist of, trace.json first.
std::span<const std::string_view> trace_files() noexcept;

// Makes the folder if need be and writes the arrays that are not empty. Error{io}.
void write_trace(const std::string& folder, const Trace& trace);

}  // namespace greenroom::cache
