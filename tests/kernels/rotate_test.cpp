// SPDX-License-Identifier: MIT
#include "kernels/rotate.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/kernel_cases.hpp"
#include "kernels/quantise.hpp"
#include "kernels/scale.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

using test::Edge;
using test::GuardedBuffer;
using test::Random;

struct Case {
    size_t M, K, stride, K_padded;

    explicit Case(Random& random) {
        M = random.size(1, 5);
        K = random.one_in(4) ? 512 * random.size(1, 4) : random.size(1, 700);
        stride = K + random.size(0, 5);
        K_padded = round_up(K, kTileK) + kTileK * (random.one_in(4) ? random.size(1, 3) : 0);
    }
};

std::vector<float> rotated(const std::vector<float>& x, size_t M, size_t K, size_t K_padded,
                           TestTier tier = test_tiers().back()) {
    std::vector<float> out(M * K_padded);
    rotate_rows({x.data(), K, M, K, K_padded, out.data()}, tier);
    return out;
}

// Flush against guard pages, so that a read or a write beyond a row faults.
TEST(Rotate, EveryTierEqualsTheReference) {
    Random random;
    for (int round = 0; round < 300; ++round) {
        const Case c(random);
        for (const Edge edge : {Edge::kBegin, Edge::kEnd}) {
            GuardedBuffer<float> x((c.M - 1) * c.stride + c.K, edge);
            for (size_t m = 0; m < c.M; ++m)
                test::fill_row(random, x.data() + m * c.stride, c.K);
            GuardedBuffer<float> factors(c.K, edge);
            for (float& factor : factors)
                factor = std::exp(random.normal());
            for (const float* const used :
                 {static_cast<const float*>(nullptr), static_cast<const float*>(factors.data())}) {
                std::vector<float> expected(c.M * c.K_padded);
                rotate_rows({x.data(), c.stride, c.M, c.K, c.K_padded, expected.data(), used},
                            TestTier::kReference);
                for (const TestTier tier : test_tiers()) {
                    GuardedBuffer<float> out(c.M * c.K_padded, edge);
                    const GuardedBuffer<float> absmax(c.M, edge);
                    rotate_rows({x.data(), c.stride, c.M, c.K, c.K_padded, out.data(), used, absmax.data()},
                                tier);
                    for (size_t m = 0; m < c.M; ++m) {
                        const float* const row = expected.data() + m * c.K_padded;
                        ASSERT_TRUE(
                            test::same_float(absmax[m], row_absmax(row, c.K_padded, TestTier::kReference)));
                    }
                    ASSERT_TRUE(std::equal(expected.begin(), expected.end(), out.begin(), test::same_float))
                        << kernel_tier_name(tier) << " M=" << c.M << " K=" << c.K
                        << " K_padded=" << c.K_padded << (used != nullptr ? " with factors" : "");
                }
            }
        }
    }
}

// Small integers are added without rounding, so this is exact: signs of a Hadamard matrix, twice is `block`.
TEST(Rotate, TwiceIsTheBlockTimesTheRow) {
    Random random;
    for (const size_t K : {32U, 64U, 96U, 256U, 576U, 1536U, 640U, 4096U}) {
        std::vector<float> x(2 * K);
        for (float& value : x)
            value = static_cast<float>(static_cast<int>(random.size(0, 400)) - 200);
        const std::vector<float> twice = rotated(rotated(x, 2, K, K), 2, K, K);
        for (size_t i = 0; i < x.size(); ++i)
            ASSERT_EQ(twice[i], x[i] * static_cast<float>(rotation_block(K))) << K << " at " << i;
    }
}

TEST(Rotate, TheBlockIsTheLargestPowerOfTwoUpTo512) {
    EXPECT_EQ(rotation_block(32), 32U);
    EXPECT_EQ(rotation_block(64), 64U);
    EXPECT_EQ(rotation_block(96), 32U);
    EXPECT_EQ(rotation_block(576), 64U);
    EXPECT_EQ(rotation_block(640), 128U);
    EXPECT_EQ(rotation_block(8960), 256U);
    EXPECT_EQ(rotation_block(1536), 512U);
    EXPECT_EQ(rotation_block(4096), 512U);
}

// One large value among small ones is spread evenly over its block, and over no other.
TEST(Rotate, SpreadsAnOutlier) {
    std::vector<float> x(192, 0.0F);
    x[70] = 64.0F;
    const std::vector<float> out = rotated(x, 1, 192, 192);
    for (size_t k = 0; k < 192; ++k)
        EXPECT_EQ(std::fabs(out[k]), k / 64 == 1 ? 64.0F : 0.0F) << k;
}

TEST(Rotate, FactorsComeFirst) {
    std::vector<float> x(64, 0.0F);
    std::vector<float> factors(64, 1.0F);
    x[3] = 2.0F;
    factors[3] = 0.5F;
    std::vector<float> out(64);
    rotate_rows({x.data(), 64, 1, 64, 64, out.data(), factors.data()});
    for (const float value : out)
        EXPECT_EQ(std::fabs(value), 1.0F);
}

TEST(Rotate, WhatIsNotFiniteShowsInTheRowAndNowhereElse) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        std::vector<float> x(3 * 96, 1.0F);
        x[96 + 50] = bad;
        const std::vector<float> out = rotated(x, 3, 96, 96);
        EXPECT_EQ(row_absmax(out.data(), 96), 32.0F);
        EXPECT_TRUE(std::isnan(row_absmax(out.data() + 96, 96)));
        EXPECT_EQ(row_absmax(out.data() + 192, 96), 32.0F);
    }
}

// Both planes together hold a value to a 254th of what one holds.
TEST(Residuals, EveryTierEqualsTheReferenceAndBothPlanesHoldTheRow) {
    Random random;
    for (int round = 0; round < 300; ++round) {
        const Case c(random);
        const size_t m0 = random.size(0, 3);
        const size_t total = m0 + c.M + random.size(0, 3);
        std::vector<float> x(c.M * c.stride);
        for (size_t m = 0; m < c.M; ++m)
            test::fill_row(random, x.data() + m * c.stride, c.K);
        std::vector<int8_t> first(total * c.K_padded, 99);
        std::vector<float> scales(c.M);
        quantise_rows_int8({x.data(), c.stride, c.M, c.K, c.K_padded, total, m0, first.data()},
                           scales.data());
        std::vector<int8_t> expected(total * c.K_padded, 99);
        std::vector<float> expected_scales(c.M);
        quantise_residuals_int8({x.data(), c.stride, c.M, c.K, c.K_padded, total, m0, expected.data()},
                                scales.data(), expected_scales.data(), TestTier::kReference);
        for (const TestTier tier : test_tiers()) {
            std::vector<int8_t> second(total * c.K_padded, 99);
            std::vector<float> residual_scales(c.M);
            quantise_residuals_int8({x.data(), c.stride, c.M, c.K, c.K_padded, total, m0, second.data()},
                                    scales.data(), residual_scales.data(), tier);
            ASSERT_EQ(second, expected) << kernel_tier_name(tier);  // rows of others untouched
            ASSERT_TRUE(test::same_floats(residual_scales, expected_scales));
        }
        for (size_t m = 0; m < c.M; ++m) {
            if (storing_factor(scales[m]) == 0.0F || scales[m] < 0x1p-100F) continue;
            for (size_t k = 0; k < c.K_padded; ++k) {
                const size_t at = a_index_native(m0 + m, k, total, DType::kInt8);
                const double held = static_cast<double>(scales[m]) * first[at] +
                                    static_cast<double>(expected_scales[m]) * expected[at];
                const double value = k < c.K ? x[m * c.stride + k] : 0.0;
                ASSERT_NEAR(held, value, scales[m] * (0.5 / 254 + 1e-4)) << "k=" << k;
            }
        }
    }
}

}  // namespace
}  // namespace rknpu2
