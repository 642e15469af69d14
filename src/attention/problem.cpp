// SPDX-License-Identifier: MIT
#include "attention/problem.hpp"

#include <bit>
#include <cmath>

namespace rknpu2 {

// As ggml's CPU backend has it (ggml_compute_forward_flash_attn_ext of ggml 0.25.3).
float AttentionProblem::slope(size_t head) const {
    if (max_bias <= 0) return 1;
    const auto power = static_cast<float>(std::bit_floor(heads));
    const auto h = static_cast<float>(head);
    if (h < power) return std::pow(std::exp2(-max_bias / power), h + 1);
    return std::pow(std::exp2(-max_bias / 2 / power), 2 * (h - power) + 1);
}

AttentionProblem AttentionProblem::part(size_t first, size_t count) const {
    AttentionProblem those = *this;
    those.tokens = count;
    those.queries += first * query_token_bytes;
    if (mask != nullptr) those.mask += first * mask_token_bytes;
    those.out += first * out_token_bytes;
    return those;
}

}  // namespace rknpu2
