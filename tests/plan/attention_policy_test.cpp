// SPDX-License-Identifier: MIT
// Who computes attention, and how long chunks are where the NPU does.
#include "plan/attention_policy.hpp"

#include <gtest/gtest.h>

#include "plan/cost_model.hpp"

namespace rknpu2 {
namespace {

AttentionReason of(Attention setting, Precision precision, bool possible, size_t tokens, size_t positions) {
    Config config;
    config.attention = setting;
    config.precision = precision;
    return attention_target(possible, {tokens, 1, positions}, config);
}

TEST(AttentionPolicy, EachReason) {
    using enum AttentionReason;
    EXPECT_EQ(of(Attention::kAuto, Precision::kBalanced, true, 64, 512), kOnNpu);
    EXPECT_EQ(of(Attention::kAuto, Precision::kBalanced, true, 47, 4096), kFewTokens);
    EXPECT_EQ(of(Attention::kAuto, Precision::kBalanced, true, 64, 511), kFewPositions);
    EXPECT_EQ(of(Attention::kNpu, Precision::kExact, true, 1, 1), kOnNpu);
    EXPECT_EQ(of(Attention::kNpu, Precision::kFast, false, 64, 512), kShape);
    EXPECT_EQ(of(Attention::kNpu, Precision::kReference, true, 64, 512), kNoFp16);
    EXPECT_EQ(of(Attention::kNpu, Precision::kNaive, true, 64, 512), kNoFp16);
    EXPECT_EQ(of(Attention::kCpu, Precision::kReference, false, 1, 1), kSettingCpu);
    for (int reason = 0; reason < kAttentionReasons; ++reason)
        EXPECT_STRNE(attention_reason_text(static_cast<AttentionReason>(reason)), "");
}

// Where the heads of a group share keys, a few tokens have many rows.
TEST(AttentionPolicy, FewTokensOfLargeGroupsInLongContexts) {
    using enum AttentionReason;
    EXPECT_EQ(faster_attention({16, 4, 2048}), kOnNpu);
    EXPECT_EQ(faster_attention({16, 4, 2047}), kFewPositions);
    EXPECT_EQ(faster_attention({15, 4, 16384}), kFewTokens);
    EXPECT_EQ(faster_attention({63, 1, 16384}), kFewTokens);
    EXPECT_EQ(faster_attention({3, 71, 16384}), kFewTokens);
    EXPECT_EQ(faster_attention({64, 1, 512}), kOnNpu);
}

TEST(AttentionPolicy, OurOwnCodeHasFewTokensThatAutoLeavesToTheCpu) {
    using enum AttentionReason;
    EXPECT_TRUE(is_for_few_tokens(kFewTokens, 1, Precision::kBalanced));
    EXPECT_TRUE(is_for_few_tokens(kFewPositions, 63, Precision::kCompact));
    EXPECT_FALSE(is_for_few_tokens(kFewPositions, 64, Precision::kBalanced));
    EXPECT_FALSE(is_for_few_tokens(kFewTokens, 1, Precision::kExact));
    for (const AttentionReason reason : {kOnNpu, kSettingCpu, kNoFp16, kShape, kNoRoom})
        EXPECT_FALSE(is_for_few_tokens(reason, 1, Precision::kBalanced)) << static_cast<int>(reason);
}

TEST(AttentionPolicy, ChunksAreAsLongAsTheirTilesWant) {
    constexpr ProductShape kGemma[] = {
        {1152, 1024}, {1152, 13824}, {6912, 1152}};  // 113 rows in a core's buffer
    constexpr ProductShape kLlama[] = {{4096, 4096}, {4096, 22016}, {11008, 4096}};  // 32
    const auto rows = [](std::span<const ProductShape> shapes, int64_t prompt) {
        return flow_chunk_rows(kBoardRates, NpuArithmetic::kInt8, shapes, prompt);
    };
    EXPECT_EQ(rows(kGemma, 512), 112);
    EXPECT_EQ(rows(kLlama, 512), 128);
    EXPECT_EQ(rows(kGemma, kLongPromptRows - 1), kFlowChunkRows);
}

TEST(AttentionPolicy, ChunksAreCloserWhereBlocksHaveNoRoom) {
    constexpr size_t kLlama2 = size_t{16} << 20, kLlama3 = size_t{4} << 20;
    EXPECT_EQ(flow_skew(4, 0, kLlama2), kFlowSkew);
    EXPECT_EQ(flow_skew(2, 0, kLlama2), kFlowSkew);
    EXPECT_EQ(flow_skew(4, 4, kLlama2), kFlowSkew);
    EXPECT_EQ(flow_skew(4, 5, kLlama2), kFlowSkewOfLongCaches);
    EXPECT_EQ(flow_skew(4, 32, kLlama3), kFlowSkew);
    EXPECT_EQ(flow_skew(5, 2, kLlama3), kFlowSkew);
    EXPECT_EQ(flow_skew(8, 2, kLlama3), 2);
    EXPECT_EQ(flow_skew(50, 2, kLlama2), 1);
    EXPECT_EQ(kept_blocks(size_t{1} << 30), 1U);
}

}  // namespace
}  // namespace rknpu2
