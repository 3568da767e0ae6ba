#include "cpu/attention.h"

#include "cpu/kernels.h"
#include "cpu/kv_rows.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

namespace greenroom::cpu {
namespace {

// Queries (a head of a token each) that read the same cached rows are done together, so that a row is decoded
// once for all of them, and rows in blocks that stay in the first-level cache.
constexpr int kMaxQueries = 8;
constexpr std::int64_t kBlockRows = 32;

// scores ← e^score / Σ e^score, the sum including *sink where there is one.
void softmax(float* scores, std::int64_t n, const float* sink) noexcept {
    float highest = *std::max_element(scores, scores + n);
    if (sink != nullptr) highest = std::max(highest, *sink);
    double sum = sink != nullptr ? std::exp(static_cast<double>(*sink - highest)) : 0.0;
    for (std::int64_t s = 0; s < n; ++s) {
        scores[s] = std::exp(scores[s] - highest);
        sum += static_cast<double>(scores[s]);
    }
    const auto factor = static_cast<float>(1.0 / sum);
    for (std::int64_t s = 0; s < n; ++s) scores[s] *= factor;
}

// The part of the cached rows that one head reads, from a byte offset on.
class HeadRows {
  public:
    HeadRows(const KvRows& rows, std::int64_t first_value, std::int64_t n_values)
        : rows_(rows),
          decode_(find_kv_decoder(rows.type)),
          offset_(quant::row_bytes(rows.type, first_value)),
          n_values_(n_values) {}

    std::int64_t n_values() const noexcept { return n_values_; }

    // pointers[i] ← the values of the row of position(i), first <= i < last, in the cache itself or decoded
    // into buffer.
    template <class PositionAt>
    void load(PositionAt&& position, std::int64_t first, std::int64_t last, float* buffer,
              const float** pointers) const noexcept {
        for (std::int64_t i = first; i < last; ++i) {
            const std::byte* row = rows_.row(position(i)) + offset_;
            if (rows_.type == quant::Type::F32) {
                *pointers++ = reinterpret_cast<const float*>(row);
            } else {
                decode_(row, buffer, n_values_);
                *pointers++ = buffer;
                buffer += n_values_;
            }
        }
    }

  private:
    const KvRows& rows_;
    quant::DecodeFn decode_;
    std::int64_t offset_;
    std::int64_t n_values_;
};

// One head of one token, which sees the rows [first, last) of those that are offered.
struct Query {
    const float* values;
    float* result;
    const float* sink;  // or nullptr
    std::int64_t first;
    std::int64_t last;
};

// result = Σ softmax(scale · query · keys) · values for each query, over the rows of position(i).
template <class PositionAt>
void attend(const Kernels& k, std::span<const Query> queries, PositionAt&& position, const HeadRows& keys,
            const HeadRows& values, float scale, float* scratch) noexcept {
    std::int64_t first = queries[0].first;
    std::int64_t last = queries[0].last;
    for (const Query& query : queries) {
        first = std::min(first, query.first);
        last = std::max(last, query.last);
    }
    const std::int64_t n = last - first;
    float* buffer = scratch + static_cast<std::int64_t>(queries.size()) * n;
    const auto scores_of = [&](std::size_t j) { return scratch + static_cast<std::int64_t>(j) * n - first; };
    std::array<const float*, kBlockRows> rows;

    for (std::int64_t block = first; block < last; block += kBlockRows) {
        const std::int64_t block_end = std::min(block + kBlockRows, last);
        keys.load(position, block, block_end, buffer, rows.data());
        for (std::size_t j = 0; j < queries.size(); ++j) {
            const Query& query = queries[j];
            std::int64_t s = std::max(block, query.first);
            const std::int64_t end = std::min(block_end, query.last);
            float* scores = scores_of(j);
            for (; s + kVectors <= end; s += kVectors)
                k.dot_f32_x4(query.values, &rows[static_cast<std::size_t>(s - block)], keys.n_values(),
                             scores + s);
            for (; s < end; ++s)
                scores[s] =
                    k.dot_f32(query.values, rows[static_cast<std::size_t>(s - block)], keys.n_values());
        }
    }
    for (std::size_t j = 0; j < queries.size(); ++j) {
        const Query& query = queries[j];
        float* scores = scores_of(j);
        for (std::int64_t s = query.first; s < query.last; ++s) scores[s] *= scale;
        softmax(scores + query.first, query.last - query.first, query.sink);
        std::fill_n(query.result, values.n_values(), 0.0F);
    }
    for (std::int64_t block = first; block < last; block += kBlockRows) {
        const std::int64_t block_end = std::min(block + kBlockRows, last);
        values.load(position, block, block_end, buffer, rows.data());
        for (std::size_t j = 0; j < queries.size(); ++j) {
            const Query& query = queries[j];
            std::int64_t s = std::max(block, query.first);
            const std::int64_t end = std::min(block_end, query.last);
            const float* scores = scores_of(j);
            for (; s + kVectors <= end; s += kVectors)
                k.axpy_f32_x4(query.result, scores + s, &rows[static_cast<std::size_t>(s - block)],
                              values.n_values());
            for (; s < end; ++s)
                k.axpy_f32(query.result, scores[s], rows[static_cast<std::size_t>(s - block)],
                           values.n_values());
        }
    }
}

std::int64_t n_groups(std::int64_t n, std::int64_t group) noexcept { return (n + group - 1) / group; }

}  // namespace

std::int64_t attention_scratch_floats(std::int64_t max_positions, std::int64_t max_row) noexcept {
    return kMaxQueries * max_positions + kBlockRows * max_row;
}

void mla_attention(ThreadTeam& team, const Scratch& scratch, MatrixView out, ConstMatrixView q,
                   const KvRows& cache, std::int64_t first_position, const MlaShape& shape,
                   std::span<const std::int32_t> visible, std::int64_t n_visible) {
    assert(q.n_cols == shape.n_heads * shape.row_dim() && out.n_cols == shape.n_heads * shape.latent_dim);
    assert(cache.n_values == shape.row_dim());
    assert(static_cast<std::int64_t>(visible.size()) == n_visible * q.n_rows);
    const Kernels& k = kernels();
    const HeadRows keys(cache, 0, shape.row_dim());
    const HeadRows values(cache, 0, shape.latent_dim);
    const std::int64_t groups = n_groups(shape.n_heads, kMaxQueries);
    team.parallel_for(q.n_rows * groups, 1, [&](std::int64_t item, std::int64_t, int thread) noexcept {
        const std::int64_t t = item / groups;
        const std::int64_t first_head = item % groups * kMaxQueries;
        const std::int64_t n_heads = std::min<std::int64_t>(kMaxQueries, shape.n_heads - first_head);
        const std::int32_t* listed = visible.data() + t * n_visible;
        const std::int64_t n_seen =
            visible.empty() ? first_position + t + 1 : std::find(listed, listed + n_visible, -1) - listed;
        std::array<Query, kMaxQueries> queries;
        for (std::int64_t j = 0; j < n_heads; ++j)
            queries[static_cast<std::size_t>(j)] = {q.row(t) + (first_head + j) * shape.row_dim(),
                                                    out.row(t) + (first_head + j) * shape.latent_dim, nullptr,
                                                    0, n_seen};
        const std::span<const Query> all(queries.data(), static_cast<std::size_t>(n_heads));
        float* memory = scratch.of(thread);
        if (visible.empty())
            attend(
                k, all, [](std::int64_t i) { return i; }, keys, values, shape.scale, memory);
        else
            attend(
                k, all, [listed](std::int64_t i) { return listed[i]; }, keys, values, shape.scale, memory);
    });
}

void gqa_attention(ThreadTeam& team, const Scratch& scratch, MatrixView out, ConstMatrixView q,
                   const KvRows& keys, const KvRows& values, std::int64_t first_position,
                   const GqaShape& shape, std::span<const float> sinks) {
    assert(q.n_cols == shape.n_heads * shape.head_dim && out.n_cols == shape.n_heads * shape.value_dim);
    assert(keys.n_values == shape.key_cols() && values.n_values == shape.value_cols());
    assert(sinks.empty() || static_cast<int>(sinks.size()) == shape.n_heads);
    const Kernels& k = kernels();
    // The queries of a kv head: its heads of the first token, of the second, …
    const std::int64_t heads_per_kv = shape.n_heads / shape.n_kv_heads;
    const std::int64_t n_queries = q.n_rows * heads_per_kv;
    const std::int64_t groups = n_groups(n_queries, kMaxQueries);
    team.parallel_for(
        shape.n_kv_heads * groups, 1, [&](std::int64_t item, std::int64_t, int thread) noexcept {
            const std::int64_t kv_head = item / groups;
            const std::int64_t first_query = item % groups * kMaxQueries;
            const std::int64_t n = std::min<std::int64_t>(kMaxQueries, n_queries - first_query);
            std::array<Query, kMaxQueries> queries;
            for (std::int64_t j = 0; j < n; ++j) {
                const std::int64_t t = (first_query + j) / heads_per_kv;
                const std::int64_t head = kv_head * heads_per_kv + (first_query + j) % heads_per_kv;
                const std::int64_t position = first_position + t;
                queries[static_cast<std::size_t>(j)] = {
                    q.row(t) + head * shape.head_dim, out.row(t) + head * shape.value_dim,
                    sinks.empty() ? nullptr : &sinks[static_cast<std::size_t>(head)],
                    shape.first_visible(position), position + 1};
            }
            attend(
                k, std::span<const Query>(queries.data(), static_cast<std::size_t>(n)),
                [](std::int64_t i) { return i; }, HeadRows(keys, kv_head * shape.head_dim, shape.head_dim),
                HeadRows(values, kv_head * shape.value_dim, shape.value_dim), shape.scale,
                scratch.of(thread));
        });
}

}  // namespace greenroom::cpu
