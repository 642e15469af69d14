// SPDX-License-Identifier: MIT
#include "plan/support.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "device/device_memory.hpp"
#include "plan/weight_plan.hpp"

namespace rknpu2 {
namespace {

MatmulProblem good() {
    MatmulProblem p;
    p.M = 3;
    p.N = 5;
    p.K = 7;
    p.weight_is_stored = p.weight_in_our_memory = p.weight_is_matrix = p.weight_is_contiguous = true;
    p.weight_can_be_dequantised = p.activations_are_float = p.activations_are_contiguous = p.shapes_agree =
        true;
    return p;
}

TEST(Support, EveryConditionHasItsReason) {
    EXPECT_EQ(support(good()), Reason::kSupported);
    const auto refused = [](auto change) {
        MatmulProblem p = good();
        change(p);
        return support(p);
    };
    EXPECT_EQ(refused([](auto& p) { p.weight_is_stored = false; }), Reason::kWeightIsComputed);
    EXPECT_EQ(refused([](auto& p) { p.weight_in_our_memory = false; }), Reason::kWeightElsewhere);
    EXPECT_EQ(refused([](auto& p) { p.weight_in_compute_buffer = true; }), Reason::kWeightIsTemporary);
    EXPECT_EQ(refused([](auto& p) { p.weight_is_rotation = true; }), Reason::kWeightIsRotation);
    EXPECT_EQ(refused([](auto& p) { p.weight_is_matrix = false; }), Reason::kWeightHasMoreDimensions);
    EXPECT_EQ(refused([](auto& p) { p.weight_is_contiguous = false; }), Reason::kWeightHasGaps);
    EXPECT_EQ(refused([](auto& p) { p.weight_can_be_dequantised = false; }), Reason::kWeightType);
    EXPECT_EQ(refused([](auto& p) { p.activations_are_float = false; }), Reason::kActivationsType);
    EXPECT_EQ(refused([](auto& p) { p.activations_are_contiguous = false; }), Reason::kActivationsHaveGaps);
    EXPECT_EQ(refused([](auto& p) { p.shapes_agree = false; }), Reason::kShapesDiffer);
    for (size_t MatmulProblem::*dimension : {&MatmulProblem::M, &MatmulProblem::N, &MatmulProblem::K}) {
        EXPECT_EQ(refused([&](auto& p) { p.*dimension = 0; }), Reason::kEmpty);
    }
}

// Whatever is accepted can be multiplied out without overflow.
TEST(Support, WhatIsTooLargeIsRefused) {
    const auto of = [](size_t M, size_t N, size_t K, size_t experts, size_t operand_bytes) {
        MatmulProblem p = good();
        p.M = M, p.N = N, p.K = K, p.experts = experts, p.operand_bytes = operand_bytes;
        return support(p);
    };
    const size_t most = kMostWeightBytes;  // 3.25 GiB: 26 columns of 128 MiB
    EXPECT_EQ(of(1, 26 << 12, 1 << 15, 0, 0), Reason::kSupported) << "fills what weights may have";
    EXPECT_EQ(of(1, (26 << 12) + 1, 1 << 15, 0, 0), Reason::kTooLarge);
    EXPECT_EQ(of(1, 26 << 12, (1 << 15) + 1, 0, 0), Reason::kTooLarge);
    EXPECT_EQ(of(1, 1, most / 32, 0, 0), Reason::kSupported) << "padded to 32 columns";
    EXPECT_EQ(of(1, 1, most / 32 + 1, 0, 0), Reason::kTooLarge);
    EXPECT_EQ(of(512, 1, most / 32, 0, 0), Reason::kTooLarge) << "no room for so many activations";
    EXPECT_EQ(of(1 << 20, 1, 1 << 16, 0, 0), Reason::kSupported);
    EXPECT_EQ(of(2048, 16384, 53248, 0, 0), Reason::kSupported) << "the middle of Llama-3.1-405B";
    EXPECT_EQ(of(1 << 20, 1, 1 << 17, 0, 0), Reason::kTooLarge);
    EXPECT_EQ(of(size_t{1} << 45, 1, 1, 0, 0), Reason::kSupported);
    EXPECT_EQ(of((size_t{1} << 45) + 1, 1, 1, 0, 0), Reason::kTooLarge);
    EXPECT_EQ(of(1, 32, 32, kMostOperandBytes >> 10, 0), Reason::kSupported);
    EXPECT_EQ(of(1, 32, 32, (kMostOperandBytes >> 10) + 1, 0), Reason::kTooLarge);
    EXPECT_EQ(of(1, 1, 1, 0, kMostOperandBytes), Reason::kSupported);
    EXPECT_EQ(of(1, 1, 1, 0, kMostOperandBytes + 1), Reason::kTooLarge);
    for (const size_t huge : {SIZE_MAX, SIZE_MAX - 31, size_t{1} << 63, (size_t{1} << 32) + 1}) {
        EXPECT_EQ(of(1, huge, huge, 0, 0), Reason::kTooLarge);
        EXPECT_EQ(of(1, 1, huge, 0, 0), Reason::kTooLarge);
        EXPECT_EQ(of(1, huge, 1, 0, 0), Reason::kTooLarge);
        EXPECT_EQ(of(huge, 1 << 15, 1 << 15, 0, 0), Reason::kTooLarge);
        EXPECT_EQ(of(1, 1 << 10, 1 << 10, huge, 0), Reason::kTooLarge);
    }
}

// A yes is a promise: exact takes two bytes for each number.
TEST(Support, ThePrecisionCounts) {
    MatmulProblem p = good();
    p.N = 262144;
    p.K = 8192;
    EXPECT_EQ(support(p), Reason::kSupported);
    p.arithmetic = NpuArithmetic::kFloat16;
    EXPECT_EQ(support(p), Reason::kTooLarge);
    p.N = 13 << 14;  // 3.25 GiB
    EXPECT_EQ(support(p), Reason::kSupported);
    p.N += 16;
    EXPECT_EQ(support(p), Reason::kTooLarge);
}

// As large as plan_weight() makes it, with any cores and precision.
TEST(Support, CountsWhatIsPacked) {
    for (const Precision precision : {Precision::kBalanced, Precision::kExact}) {
        const Recipe recipe = recipe_of(precision);
        const size_t bytes = recipe.arithmetic == NpuArithmetic::kFloat16 ? 2 : 1;
        for (const size_t K : {size_t{8192}, size_t{11008}, size_t{28672}, size_t{3}}) {
            const size_t N = kMostWeightBytes / bytes / round_up(K, 32) / 32 * 32;
            for (int cores = 1; cores <= 3; ++cores) {
                MatmulProblem p = good();
                p.arithmetic = recipe.arithmetic;
                p.K = K, p.N = N;
                EXPECT_EQ(support(p), Reason::kSupported) << K;
                EXPECT_LE(plan_weight(N, K, recipe, cores).packed_bytes(), kMostWeightBytes);
                p.N = N + 32;
                EXPECT_EQ(support(p), Reason::kTooLarge) << K;
                EXPECT_GT(plan_weight(N + 32, K, recipe, cores).packed_bytes(), kMostWeightBytes);
            }
        }
    }
}

// With `compact` any weight may keep eight bits.
TEST(Support, FourBitsAreCountedAsEight) {
    MatmulProblem p = good();
    p.arithmetic = NpuArithmetic::kInt4;
    p.K = 8192;
    p.N = kMostWeightBytes / p.K / 64 * 64;
    EXPECT_EQ(support(p), Reason::kSupported);
    p.N += 64;
    EXPECT_EQ(support(p), Reason::kTooLarge);
}

TEST(Support, ExpertsAreTakenAsMatricesAre) {
    MatmulProblem p = good();
    p.experts = 8;
    p.experts_used = 2;
    EXPECT_EQ(support(p), Reason::kSupported);
    p.activations_are_contiguous = false;
    EXPECT_EQ(support(p), Reason::kActivationsHaveGaps);
}

TEST(Support, ReasonsReadDifferently) {
    std::set<std::string> texts;
    for (int r = 0; r < kReasons; ++r)
        texts.insert(reason_text(static_cast<Reason>(r)));
    EXPECT_EQ(texts.size(), static_cast<size_t>(kReasons));
    EXPECT_FALSE(texts.contains("unknown reason"));
}

}  // namespace
}  // namespace rknpu2
