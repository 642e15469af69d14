// SPDX-License-Identifier: MIT
// One attention of one sequence: for each token and head, the values of all positions that the token may see,
// weighted by softmax(scale * q k).
//
// Several query heads share a head of keys and values (a KV head): query head h has KV head h / group(). The
// rows of a KV head are its query heads token by token: row t * group() + i is head i of them for token t.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numbers>
#include <string>

#include "plan/weight_source.hpp"

namespace rknpu2 {

// Keys or values of a cache: for each position and KV head, `width` elements one behind the other.
struct CacheRows {
    const std::byte* data = nullptr;
    size_t position_bytes = 0;  // from one position to the next
    size_t head_bytes = 0;
    size_t width = 0;
    DequantiseRow dequantise = nullptr;  // a row to floats; null: its elements are halves

    const std::byte* row(size_t position, size_t head) const {
        return data + position * position_bytes + head * head_bytes;
    }
};

// Scores are computed in units of ln 2: times this.
inline constexpr float kLog2E = std::numbers::log2e_v<float>;

struct AttentionProblem {
    std::string name;  // for messages
    size_t tokens = 0;
    size_t positions = 0;
    size_t heads = 0;  // of queries, a multiple of kv_heads
    size_t kv_heads = 0;
    // Floats, keys.width of them one behind the other.
    const std::byte* queries = nullptr;
    size_t query_token_bytes = 0, query_head_bytes = 0;
    CacheRows keys, values;
    // Halves, `positions` of them one behind the other: -inf hides, others are added to scores. Head h has
    // number h % mask_heads. Null: every token sees every position.
    const std::byte* mask = nullptr;
    size_t mask_token_bytes = 0, mask_head_bytes = 0, mask_heads = 1;
    const float* sinks =
        nullptr;  // by head: a score that takes weight, and has no value. Null: there are none
    float scale = 1;
    float softcap = 0;   // c: scores become c * tanh(score / c); 0: they do not
    float max_bias = 0;  // of ALiBi; 0: masks are added as they are
    // Floats, values.width of them one behind the other, for each token and head.
    std::byte* out = nullptr;
    size_t out_token_bytes = 0, out_head_bytes = 0;

    size_t group() const { return heads / kv_heads; }
    size_t rows() const { return tokens * group(); }  // of a KV head
    const float* query(size_t token, size_t head) const {
        return reinterpret_cast<const float*>(queries + token * query_token_bytes + head * query_head_bytes);
    }
    const uint16_t* mask_row(size_t token, size_t head) const {
        return reinterpret_cast<const uint16_t*>(mask + token * mask_token_bytes +
                                                 head % mask_heads * mask_head_bytes);
    }
    float* out_row(size_t token, size_t head) const {
        return reinterpret_cast<float*>(out + token * out_token_bytes + head * out_head_bytes);
    }
    // Rows first .. first + count - 1 of a KV head, those of a token together: calls body(row, token, query head, rows).
    template <typename Body>
    void for_tokens(size_t kv_head, size_t first, size_t count, const Body& body) const {
        for (size_t row = first; row < first + count;) {
            const size_t head = row % group();
            const size_t rows = std::min(group() - head, first + count - row);
            body(row, row / group(), kv_head * group() + head, rows);
            row += rows;
        }
    }
    // What masks of the head are multiplied by.
    float slope(size_t head) const;
    // Tokens first .. first + count - 1 of these.
    AttentionProblem part(size_t first, size_t count) const;
};

}  // namespace rknpu2
