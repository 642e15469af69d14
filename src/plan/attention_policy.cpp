// SPDX-License-Identifier: MIT
#include "plan/attention_policy.hpp"

#include <array>

#include "plan/cost_model.hpp"

namespace rknpu2 {
namespace {

// When few tokens are the NPU's, by the model (docs/performance.md).
constexpr size_t kFewestQueries = 64;  // rows of a KV head
constexpr size_t kFewestPositionsOfFew = 2048;
constexpr size_t kFewestOfFew = 4;  // tokens: one never pays, whatever shares its keys

}  // namespace

const char* attention_reason_text(AttentionReason reason) {
    static constexpr std::array<const char*, kAttentionReasons> kTexts = {
        "on the NPU",
        "the setting GGML_RKNPU2_ATTENTION",
        "this precision computes no attention on the NPU",
        "its types or strides are not for the NPU",
        "few tokens: faster on the CPU",
        "few positions: faster on the CPU",
        "no room for it on the NPU",
    };
    return kTexts[static_cast<size_t>(reason)];
}

bool is_for_few_tokens(AttentionReason reason, size_t tokens, Precision precision) {
    const bool left = reason == AttentionReason::kFewTokens || reason == AttentionReason::kFewPositions;
    return left && tokens < kFewestTokens && precision != Precision::kExact;
}

AttentionReason faster_attention(const AttentionCall& call) {
    static_assert(kFewestTokens == kFlowChunkRows);
    const bool many = call.tokens >= kFewestTokens;
    if (!many && (call.tokens < kFewestOfFew || call.tokens * call.group < kFewestQueries))
        return AttentionReason::kFewTokens;
    const size_t fewest = many ? kFewestPositions : kFewestPositionsOfFew;
    return call.positions < fewest ? AttentionReason::kFewPositions : AttentionReason::kOnNpu;
}

AttentionReason attention_target(bool possible, const AttentionCall& call, const Config& config) {
    const bool rounds = config.precision == Precision::kReference || config.precision == Precision::kNaive;
    if (config.attention == Attention::kCpu) return AttentionReason::kSettingCpu;
    if (rounds) return AttentionReason::kNoFp16;
    if (!possible) return AttentionReason::kShape;
    return config.attention == Attention::kNpu ? AttentionReason::kOnNpu : faster_attention(call);
}

}  // namespace rknpu2
