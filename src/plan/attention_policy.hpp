// SPDX-License-Identifier: MIT
// Where attention is computed: its two products on the NPU (attention/npu_attention.hpp), or all of it by the CPU
// backend.
//
// The two have different roundings, so a row's bits depend on the answer. It depends on the tokens and positions
// of the whole node, never on how a flow cuts it. With `npu` it is always the NPU where it can be; then a row's
// bits depend on its query and on what it sees alone.
//
// auto: the NPU from kFewestTokens tokens of a sequence and kFewestPositions positions on. By the model of
// docs/performance.md a prompt of 512 tokens gains with every family, one of 256 loses up to some per cent with
// 7B and more, since the NPU is busy with the layers' other multiplications then.
#pragma once

#include <cstddef>

#include "plan/policy.hpp"

namespace rknpu2 {

enum class AttentionReason {
    kOnNpu,
    kSettingCpu,
    kNoFp16,        // a precision that computes otherwise
    kShape,         // its types or strides
    kFewTokens,     // auto
    kFewPositions,  // auto
};
inline constexpr int kAttentionReasons = static_cast<int>(AttentionReason::kFewPositions) + 1;

// One short phrase, for statistics.
const char* attention_reason_text(AttentionReason reason);

inline constexpr size_t kFewestTokens = 64;  // a flow's chunk
inline constexpr size_t kFewestPositions = 512;

// Attentions under way at the same time.
inline constexpr size_t kPlaces = 2;

// Bytes of packed keys and values that are kept, unless one block alone is larger: more where a block is large, as that of a model
// whose query heads share no heads of keys.
constexpr size_t most_cell_bytes(size_t block_bytes) {
    return (block_bytes > size_t{8} << 20 ? size_t{128} : size_t{24}) << 20;
}

// `possible`: by its shape. tokens: of each sequence.
AttentionReason attention_target(bool possible, size_t tokens, size_t positions, const Config& config);

}  // namespace rknpu2
