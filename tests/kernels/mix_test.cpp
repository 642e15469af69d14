// SPDX-License-Identifier: MIT

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/kernel_cases.hpp"
#include "kernels/quantise.hpp"
#include "kernels/rotate.hpp"

namespace rknpu2 {
namespace {

using test::GuardedBuffer;
using test::Random;

std::vector<size_t> factors_of(size_t K) {
    std::vector<size_t> factors;
    size_t blocks = K / rotation_block(K);
    for (size_t p = 1; (p = mix_factor(blocks)) != 1; blocks /= p)
        factors.push_back(p);
    return factors;
}

using Factors = std::vector<size_t>;

TEST(Mix, FactorsOfRealSizes) {
    EXPECT_EQ(factors_of(576), Factors({3, 3}));      // SmolLM2: nine blocks of 64
    EXPECT_EQ(factors_of(1536), Factors({3}));        // three of 512
    EXPECT_EQ(factors_of(640), Factors({5}));         // Gemma-3-270M
    EXPECT_EQ(factors_of(8960), Factors({5, 7}));     // Qwen2.5-1.5B's down
    EXPECT_EQ(factors_of(6912), Factors({3, 3, 3}));  // Gemma-3-1B's down: 27 of 256
    EXPECT_EQ(factors_of(7776), Factors({3, 3, 3, 3, 3}));
    for (const size_t K : {32U, 64U, 512U, 2048U, 4096U, 8192U, 11008U})
        EXPECT_EQ(factors_of(K), Factors()) << K;
}

TEST(Mix, EveryTierEqualsTheReference) {
    Random random;
    for (int round = 0; round < 300; ++round) {
        const size_t M = random.size(1, 4);
        const size_t K = 32 * random.size(1, 256);
        std::vector<float> x(M * K);
        for (size_t m = 0; m < M; ++m)
            test::fill_row(random, x.data() + m * K, K);
        std::vector<float> expected = x;
        mix_blocks(expected.data(), M, K, TestTier::kReference);
        for (const TestTier tier : test_tiers()) {
            GuardedBuffer<float> rows(M * K, test::Edge::kEnd);
            std::copy(x.begin(), x.end(), rows.begin());
            std::vector<float> absmax(M);
            for (size_t m = 0; m < M; ++m)
                absmax[m] = row_absmax(x.data() + m * K, K);
            mix_blocks(rows.data(), M, K, tier, absmax.data());
            for (size_t m = 0; m < M; ++m)
                ASSERT_TRUE(test::same_float(absmax[m], row_absmax(expected.data() + m * K, K)));
            ASSERT_TRUE(std::equal(expected.begin(), expected.end(), rows.begin(), test::same_float))
                << kernel_tier_name(tier) << " M=" << M << " K=" << K;
        }
    }
}

// Reflections are their own inverses and keep lengths: in floats, to some units of the last place.
TEST(Mix, TwiceIsTheRow) {
    Random random;
    for (const size_t K : {96U, 576U, 640U, 1536U, 6912U, 8960U}) {
        std::vector<float> x(3 * K);
        for (float& value : x)
            value = random.normal();
        std::vector<float> mixed = x;
        mix_blocks(mixed.data(), 3, K);
        double before = 0.0;
        double after = 0.0;
        for (size_t i = 0; i < x.size(); ++i) {
            before += static_cast<double>(x[i]) * x[i];
            after += static_cast<double>(mixed[i]) * mixed[i];
        }
        EXPECT_NEAR(after / before, 1.0, 1e-6) << K;
        EXPECT_NE(mixed, x);
        mix_blocks(mixed.data(), 3, K);
        for (size_t i = 0; i < x.size(); ++i)
            ASSERT_NEAR(mixed[i], x[i], 4e-6) << K << " at " << i;
    }
}

// An outlier that rotation has spread over one block of nine reaches all, none with more than 4/9 of it.
TEST(Mix, SpreadsALoudBlock) {
    std::vector<float> x(576, 0.0F);
    x[70] = 1.0F;
    std::vector<float> out(576);
    rotate_rows({x.data(), 576, 1, 576, 576, out.data()});
    mix_blocks(out.data(), 1, 576);
    for (size_t k = 0; k < 576; ++k) {
        EXPECT_GT(std::fabs(out[k]), 0.11F) << k;
        EXPECT_LT(std::fabs(out[k]), 0.445F) << k;
    }
}

TEST(Mix, WhatIsNotFiniteStaysInItsRow) {
    std::vector<float> x(3 * 96, 1.0F);
    x[96 + 5] = std::numeric_limits<float>::infinity();
    mix_blocks(x.data(), 3, 96);
    EXPECT_FALSE(std::isfinite(x[96 + 5]));
    for (size_t k = 0; k < 96; ++k) {
        EXPECT_TRUE(std::isfinite(x[k]));
        EXPECT_TRUE(std::isfinite(x[192 + k]));
    }
}

}  // namespace
}  // namespace rknpu2
