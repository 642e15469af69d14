// SPDX-License-Identifier: MIT
#include "calibration/plane_choice.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace rknpu2 {
namespace {

TEST(Divergence, OfKnownDistributions) {
    // (1/2, 1/2) and (1/4, 3/4): 1/2 ln 2 + 1/2 ln 2/3.
    const float base[] = {7.0F, 7.0F};
    const float other[] = {std::log(1.0F), std::log(3.0F)};
    EXPECT_NEAR(mean_divergence(base, other, 1, 2), 0.5 * std::log(4.0 / 3.0), 1e-7);
    // Not symmetric: 1/4 ln 1/2 + 3/4 ln 3/2.
    EXPECT_NEAR(mean_divergence(other, base, 1, 2), 0.25 * std::log(0.5) + 0.75 * std::log(1.5), 1e-7);
}

TEST(Divergence, MeanOfRowsWhateverTheirOffset) {
    const float base[] = {1, 1, 1000, 1000, 1, 2};
    const float other[] = {0, std::log(3.0F), 50, 50, 4, 5};
    EXPECT_NEAR(mean_divergence(base, other, 3, 2), 0.5 * std::log(4.0 / 3.0) / 3, 1e-7);
}

TEST(Divergence, EqualLogitsAreAtZero) {
    std::vector<float> logits(3 * 1001);
    for (size_t i = 0; i < logits.size(); ++i)
        logits[i] = std::sin(static_cast<float>(i)) * 20;
    EXPECT_EQ(mean_divergence(logits.data(), logits.data(), 3, 1001), 0.0);
    std::vector<float> moved = logits;
    for (float& x : moved)
        x += 0.25F;
    EXPECT_GE(mean_divergence(logits.data(), moved.data(), 3, 1001), 0.0);
    EXPECT_LT(mean_divergence(logits.data(), moved.data(), 3, 1001), 1e-9);
}

TEST(Divergence, NaNShows) {
    const float base[] = {1, 2};
    const float other[] = {std::numeric_limits<float>::quiet_NaN(), 2};
    EXPECT_TRUE(std::isnan(mean_divergence(base, other, 1, 2)));
}

}  // namespace
}  // namespace rknpu2
