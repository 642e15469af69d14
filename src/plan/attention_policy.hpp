// SPDX-License-Identifier: MIT
// Where attention is computed: its two products on the NPU (attention/npu_attention.hpp), or all of it by the CPU
// backend.
//
// What auto leaves to the CPU for its tokens or positions is computed by our own code if there are less than kFewestTokens
// tokens: it reads keys and values once for all rows of a KV head (attention/few_tokens.hpp). All else is ggml's.
//
// All of these have different roundings, so a row's bits depend on the answer. It depends on the tokens and positions
// of the whole node, never on how a flow cuts it. With `npu` it is always the NPU where it can be; then a row's
// bits depend on its query and on what it sees alone.
//
// auto: the NPU from kFewestTokens tokens of a sequence and kFewestPositions positions on. By the model of
// docs/performance.md a prompt of 512 tokens gains with every family, one of 256 loses up to some per cent with
// 7B and more, since the NPU is busy with the layers' other multiplications then. Fewer tokens go there only where a head of
// keys has many query rows and many positions: attention_policy.cpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "plan/policy.hpp"

namespace rknpu2 {

enum class AttentionReason {
    kOnNpu,
    kSettingCpu,
    kNoFp16,        // a precision that computes otherwise
    kShape,         // its types or strides
    kFewTokens,     // auto
    kFewPositions,  // auto
    kNoRoom,        // the NPU had none for such a one before
};
inline constexpr int kAttentionReasons = static_cast<int>(AttentionReason::kNoRoom) + 1;

// One short phrase, for statistics.
const char* attention_reason_text(AttentionReason reason);

inline constexpr size_t kFewestTokens = 64;  // a flow's chunk
inline constexpr size_t kFewestPositions = 512;

// Attentions under way at the same time.
inline constexpr size_t kPlaces = 2;

// Blocks of packed keys and values that are kept, of so many bytes each: 1 or more. Large blocks, those of a model whose
// query heads share no heads of keys, have more memory together.
inline constexpr size_t kLargeBlock = (size_t{8} << 20) + 1;
constexpr size_t kept_blocks(size_t bytes) {
    const size_t most = (bytes >= kLargeBlock ? size_t{128} : size_t{24}) << 20;
    return std::max<size_t>(most / bytes, 1);
}

// How many stages a chunk of a flow is ahead of the next one. By the model half a layer is best, as one chunk's attention
// meets another's FFN. Chunks that are further apart pack keys and values again more often, since fewer layers have room.
// So they are closer where there are many, and where large blocks of one layer are more than there is room for.
inline constexpr int64_t kFlowSkew = 5;
inline constexpr int64_t kFlowSkewOfLongCaches = 2;
inline constexpr size_t kFewChunks = 5;
inline constexpr int64_t kFlowSpread = 16;  // stages, of more chunks together
// `blocks`: of a layer, of so many bytes each; 0: attention is the CPU's.
constexpr int64_t flow_skew(size_t chunks, size_t blocks, size_t bytes) {
    const bool fit = blocks <= kept_blocks(bytes) / kPlaces;
    const int64_t most = blocks == 0 || bytes < kLargeBlock || fit ? kFlowSkew : kFlowSkewOfLongCaches;
    if (chunks <= kFewChunks) return most;
    return std::max<int64_t>(kFlowSpread / static_cast<int64_t>(chunks), 1);
}

struct AttentionCall {
    size_t tokens = 0;  // of each sequence
    size_t group = 1;   // query heads of a head of keys
    size_t positions = 0;
};

// Is it computed by our own code where it is the CPU's? Yes if auto leaves it to the CPU and it has fewer than kFewestTokens
// tokens; `exact` keeps the arithmetic of the CPU backend.
bool is_for_few_tokens(AttentionReason reason, size_t tokens, Precision precision);

// kOnNpu, kFewTokens or kFewPositions, with auto.
AttentionReason faster_attention(const AttentionCall& call);
// `possible`: by its shape.
AttentionReason attention_target(bool possible, const AttentionCall& call, const Config& config);

}  // namespace rknpu2
