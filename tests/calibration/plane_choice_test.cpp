// SPDX-License-Identifier: MIT
// Second planes go where they were measured to bring most, and the budget holds.
#include "calibration/plane_choice.hpp"

#include <gtest/gtest.h>

#include <random>

namespace rknpu2 {
namespace {

ActivationStats entry(size_t N, size_t K, float divergence, bool output = false) {
    ActivationStats statistics;
    statistics.N = N;
    statistics.K = K;
    statistics.rows = 1;
    statistics.one_plane_divergence = divergence;
    statistics.output = output;
    return statistics;
}

constexpr float kUnknown = ActivationStats::kNotMeasured;

TEST(PlaneChoice, TheMostForItsWorkComesFirst) {
    // 25 % of 400 are 100: small gains most for its work, then large_gain; equal_b has no room left.
    const PlaneChoice choice = choose_planes({{"small", entry(2, 5, 0.5F)},
                                              {"large_gain", entry(9, 10, 0.9F)},
                                              {"equal_b", entry(10, 10, 0.9F)},
                                              {"poor", entry(20, 10, 0.1F)}});
    EXPECT_EQ(choice.at("small").planes, 2U);
    EXPECT_EQ(choice.at("large_gain").planes, 2U);
    EXPECT_EQ(choice.at("equal_b").planes, 1U);
    EXPECT_EQ(choice.at("poor").planes, 1U);
    EXPECT_EQ(choice.at("small").reason, PlaneReason::kWorthIt);
    EXPECT_EQ(choice.at("poor").reason, PlaneReason::kBudget);
}

TEST(PlaneChoice, WhatDoesNotFitLeavesRoomForOthers) {
    const PlaneChoice choice = choose_planes(
        {{"too_large", entry(30, 10, 9.0F)}, {"fits", entry(5, 10, 0.1F)}, {"rest", entry(5, 10, 0.0F)}});
    EXPECT_EQ(choice.at("too_large").planes, 1U);
    EXPECT_EQ(choice.at("fits").planes, 2U);
}

TEST(PlaneChoice, TheOutputHeadIsNotCounted) {
    const PlaneChoice choice = choose_planes(
        {{"head", entry(1000, 10, 0.0F, true)}, {"a", entry(4, 10, 0.2F)}, {"b", entry(4, 10, 0.1F)}});
    EXPECT_EQ(choice.at("head").planes, 2U);
    EXPECT_EQ(choice.at("head").reason, PlaneReason::kOutput);
    // A quarter of a and b is less than either of them; the head's size buys nothing.
    EXPECT_EQ(choice.at("a").planes, 1U);
    EXPECT_EQ(choice.at("b").planes, 1U);
}

TEST(PlaneChoice, WhatWasNotMeasuredHasOne) {
    const PlaneChoice choice = choose_planes(
        {{"a", entry(4, 10, kUnknown)}, {"b", entry(1, 10, 0.0F)}, {"head", entry(4, 10, kUnknown, true)}});
    EXPECT_EQ(choice.at("a").planes, 1U);
    EXPECT_EQ(choice.at("a").reason, PlaneReason::kNotMeasured);
    EXPECT_EQ(choice.at("b").planes, 2U);
    EXPECT_EQ(choice.at("head").planes, 2U);
}

TEST(PlaneChoice, TheBudgetHoldsForAnyModel) {
    for (uint32_t seed = 1; seed <= 200; ++seed) {
        SCOPED_TRACE(seed);
        std::mt19937 random(seed);
        ModelStats statistics;
        for (size_t i = 0; i < 1 + random() % 40; ++i) {
            const auto divergence = static_cast<float>(random() % 1000) / 1000.0F;
            statistics["w" + std::to_string(i)] = entry(1 + random() % 64, 1 + random() % 64, divergence);
        }
        for (const double budget : {0.0, 0.25, 1.0}) {
            size_t work = 0;
            size_t extra = 0;
            const PlaneChoice choice = choose_planes(statistics, budget);
            ASSERT_EQ(choice.size(), statistics.size());
            for (const auto& [name, one] : statistics) {
                work += one.N * one.K;
                extra += (choice.at(name).planes - 1) * one.N * one.K;
            }
            EXPECT_LE(static_cast<double>(extra), budget * static_cast<double>(work) * (1 + 1e-9));
            if (budget == 1.0) {
                EXPECT_EQ(extra, work);
            }
        }
    }
}

}  // namespace
}  // namespace rknpu2
