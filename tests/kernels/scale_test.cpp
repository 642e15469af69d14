// SPDX-License-Identifier: MIT
#include "kernels/scale.hpp"

#include <gtest/gtest.h>

#include "kernels/kernel_cases.hpp"
#include "kernels/pack.hpp"
#include "kernels/quantise.hpp"

namespace rknpu2 {
namespace {

using test::Random;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Scale, Int8) {
    EXPECT_EQ(int8_scale(127.0F), 1.0F);
    EXPECT_EQ(int8_scale(0.0F), 0.0F);
    EXPECT_TRUE(std::isnan(int8_scale(kNaN)));
    // The smallest scale that counts is the smallest normal float.
    const float smallest = 127.0F * std::numeric_limits<float>::min();
    EXPECT_EQ(int8_scale(smallest), std::numeric_limits<float>::min());
    EXPECT_EQ(int8_scale(std::nextafter(smallest, 0.0F) * 0.999F), 0.0F);
    EXPECT_EQ(int8_scale(std::numeric_limits<float>::denorm_min()), 0.0F);
    // From one end to the other the factor is finite and brings absmax to 127.
    for (const float absmax : {smallest, 1e-30F, 1.0F, 3e38F, std::numeric_limits<float>::max()}) {
        const float factor = storing_factor(int8_scale(absmax));
        EXPECT_TRUE(std::isfinite(factor)) << absmax;
        EXPECT_NEAR(absmax * factor, 127.0F, 1e-4F) << absmax;
    }
}

TEST(Scale, Float16IsOneOrAPowerOfTwoThatFits) {
    for (const float absmax : {0.0F, kFloat16MinNormal, 1.0F, kFloat16Max})
        EXPECT_EQ(fp16_scale(absmax), 1.0F) << absmax;
    EXPECT_TRUE(std::isnan(fp16_scale(kNaN)));
    EXPECT_EQ(fp16_scale(std::nextafter(kFloat16Max, 1e9F)), 2.0F);
    EXPECT_EQ(fp16_scale(65536.0F), 2.0F);
    EXPECT_EQ(fp16_scale(2 * kFloat16Max), 2.0F);
    EXPECT_EQ(fp16_scale(std::nextafter(2 * kFloat16Max, 1e9F)), 4.0F);
    EXPECT_EQ(fp16_scale(0x1.8p-15F), 0x1p-15F);
    EXPECT_EQ(fp16_scale(std::numeric_limits<float>::denorm_min()), std::numeric_limits<float>::min());
    Random random;
    for (int i = 0; i < 20000; ++i) {
        const float absmax = std::fabs(random.any_finite());
        const float scale = fp16_scale(absmax);
        int exponent = 0;
        ASSERT_EQ(std::frexp(scale, &exponent), 0.5F) << absmax;
        const float stored = absmax * storing_factor(scale);
        ASSERT_LE(stored, kFloat16Max) << absmax;
        if (absmax > kFloat16Max) {
            ASSERT_GT(stored, kFloat16Max / 2) << absmax;
        } else if (absmax >= std::numeric_limits<float>::min()) {
            ASSERT_GE(stored, kFloat16MinNormal) << absmax;
        }
    }
}

TEST(Scale, FactorIsZeroForWhatIsStoredAsZero) {
    for (const float scale : {0.0F, -0.0F, -1.0F, kNaN, kInfinity, std::numeric_limits<float>::denorm_min()})
        EXPECT_EQ(storing_factor(scale), 0.0F) << scale;
    EXPECT_EQ(storing_factor(0.5F), 2.0F);
}

TEST(Scale, RowAbsmaxSeesEveryPositionAndEveryOddValue) {
    for (const TestTier tier : test_tiers()) {
        SCOPED_TRACE(kernel_tier_name(tier));
        EXPECT_EQ(row_absmax(nullptr, 0, tier), 0.0F);
        for (size_t K = 1; K <= 70; ++K) {
            test::GuardedBuffer<float> row(K);
            for (size_t at = 0; at < K; ++at) {
                std::fill(row.begin(), row.end(), -1.0F);
                row[at] = -3.5F;
                ASSERT_EQ(row_absmax(row.data(), K, tier), 3.5F) << K << " " << at;
                row[at] = std::numeric_limits<float>::max();
                ASSERT_EQ(row_absmax(row.data(), K, tier), row[at]) << K << " " << at;
                for (const float odd : {kNaN, -kNaN, kInfinity, -kInfinity}) {
                    row[at] = odd;
                    ASSERT_TRUE(std::isnan(row_absmax(row.data(), K, tier))) << K << " " << at;
                }
            }
            std::fill(row.begin(), row.end(), -std::numeric_limits<float>::denorm_min());
            ASSERT_EQ(row_absmax(row.data(), K, tier), std::numeric_limits<float>::denorm_min());
            std::fill(row.begin(), row.end(), -0.0F);
            ASSERT_FALSE(std::signbit(row_absmax(row.data(), K, tier)));
        }
    }
}

TEST(Tiers, TheDefaultIsTheLast) {
    ASSERT_FALSE(available_tiers().empty());
    EXPECT_EQ(available_tiers().front(), KernelTier::kGeneric);
    EXPECT_EQ(available_tiers().back(), default_tier());
    EXPECT_EQ(test_tiers().size(), 1 + available_tiers().size());
}

TEST(Scale, ChannelScalesFollowTheRules) {
    Random random;
    for (int i = 0; i < 500; ++i) {
        const size_t K = random.size(1, 200);
        const auto row = test::random_rows(random, 1, K, K);
        for (const TestTier tier : test_tiers()) {
            const float absmax = row_absmax(row.data(), K);
            ASSERT_TRUE(test::same_float(row_absmax(row.data(), K, tier), absmax));
        }
    }
}

}  // namespace
}  // namespace rknpu2
