// SPDX-License-Identifier: MIT
// Rotation is given up only where it hurts.
#include "weights/packer.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "matmul/matrices.hpp"

namespace rknpu2 {
namespace {

using testing::Matrices;

double cost(const Matrices& x) {
    const Result<double> result = cost_of_rotation(x.source());
    EXPECT_TRUE(result.ok());
    return result.value();
}

Matrices evenly_distributed(size_t N, size_t K) {
    Matrices x(1, N, K, 1);
    std::mt19937 random(7);
    std::uniform_real_distribution<float> even(-1, 1);
    for (float& w : x.w)
        w = even(random);
    return x;
}

TEST(RotationChoice, NormalWeightsGainAndLoseNothing) {
    for (const auto& [N, K] : {std::pair<size_t, size_t>{576, 1536}, {192, 576}, {7, 1000}, {16, 4096}})
        EXPECT_NEAR(cost(Matrices(1, N, K, 3)), 1.0, 0.35) << N << " x " << K;
}

TEST(RotationChoice, OutliersGain) {
    Matrices x(1, 100, 576, 5);
    for (size_t i = 50; i < x.w.size(); i += 576)
        x.w[i] *= 30;
    EXPECT_LT(cost(x), 0.3);
}

TEST(RotationChoice, EvenlyDistributedWeightsLose) {
    EXPECT_GT(cost(evenly_distributed(16, 4096)), kRotationMayCost);
    EXPECT_GT(cost(evenly_distributed(300, 1024)), kRotationMayCost);
}

TEST(RotationChoice, NothingToGoBy) {
    Matrices x(1, 5, 64, 1);
    x.w.assign(x.w.size(), 0.0F);
    EXPECT_EQ(cost(x), 1.0);
    x.w[70] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(cost(x), 1.0);
    x.w[70] = std::numeric_limits<float>::infinity();
    EXPECT_EQ(cost(x), 1.0);
}

}  // namespace
}  // namespace rknpu2
