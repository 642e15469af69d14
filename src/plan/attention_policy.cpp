// SPDX-License-Identifier: MIT
#include "plan/attention_policy.hpp"

#include <array>

#include "plan/cost_model.hpp"

namespace rknpu2 {

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

AttentionReason attention_target(bool possible, size_t tokens, size_t positions, const Config& config) {
    static_assert(kFewestTokens == kFlowChunkRows);
    const bool rounds = config.precision == Precision::kReference || config.precision == Precision::kNaive;
    if (config.attention == Attention::kCpu) return AttentionReason::kSettingCpu;
    if (rounds) return AttentionReason::kNoFp16;
    if (!possible) return AttentionReason::kShape;
    if (config.attention == Attention::kNpu) return AttentionReason::kOnNpu;
    if (tokens < kFewestTokens) return AttentionReason::kFewTokens;
    return positions < kFewestPositions ? AttentionReason::kFewPositions : AttentionReason::kOnNpu;
}

}  // namespace rknpu2
