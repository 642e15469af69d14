// SPDX-License-Identifier: MIT
// Zero points: weights whose values lie to one side, after rotation, are rounded as finely as their spread
// allows.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/rotate.hpp"
#include "matmul/fake_device.hpp"
#include "matmul/matrices.hpp"
#include "matmul/npu_device.hpp"

namespace rknpu2 {
namespace {

using testing::FakeState;
using testing::Matrices;

class ZeroPointTest : public ::testing::Test {
  protected:
    std::shared_ptr<const PackedWeight> pack(const Matrices& x, Precision precision) {
        npu_ = testing::new_device(state_, counters_, precision);
        auto packed = npu_->pack(x.source());
        EXPECT_TRUE(packed.ok());
        return packed.take();
    }

    double error(const Matrices& x, Precision precision) {
        const auto packed = pack(x, precision);
        std::vector<float> out(x.M * x.N);
        EXPECT_TRUE(npu_->multiply(*packed, x.a.data(), x.M, out.data()).ok());
        return x.error_of(out);
    }

    // Weights that are `spread` around `middle` once they are rotated: H * H = block * I, so what is rotated
    // twice is itself.
    static Matrices skewed(size_t N, size_t K, float middle, float spread) {
        Matrices x(5, N, K, 3);
        for (float& w : x.w)
            w = middle + spread * std::tanh(w);
        Matrices rotated = x;
        rotate_rows({x.w.data(), K, N, K, K, rotated.w.data()});
        return rotated;
    }

    FakeState state_;
    Counters counters_;
    std::shared_ptr<NpuDevice> npu_;
};

TEST_F(ZeroPointTest, WhatLiesToOneSideIsRoundedAsFinely) {
    for (const auto& [N, K] : {std::pair<size_t, size_t>{33, 576}, {70, 128}, {9, 16384}}) {
        const double around_zero = error(skewed(N, K, 0.0F, 1.0F), Precision::kBalanced);
        const double to_one_side = error(skewed(N, K, 3.0F, 1.0F), Precision::kBalanced);
        EXPECT_LT(around_zero, 0.01) << N << " x " << K;
        // The result is larger by the middle, the error is not: a symmetric scale would make it four times as
        // large.
        EXPECT_LT(to_one_side, around_zero) << N << " x " << K;
    }
}

TEST_F(ZeroPointTest, OnlyRotatedWeightsHaveThem) {
    const Matrices x(2, 33, 100, 1);
    EXPECT_TRUE(pack(x, Precision::kExact)->channel_offsets.empty());
    EXPECT_TRUE(pack(x, Precision::kNaive)->channel_offsets.empty());
    EXPECT_EQ(pack(x, Precision::kFast)->channel_offsets.size(), 1U);
    const auto deep = pack(Matrices(1, 3, 9000, 1), Precision::kFast);
    EXPECT_GT(deep->plan.segments.size(), 1U);
    EXPECT_EQ(deep->channel_offsets.size(), deep->plan.segments.size());
}

TEST_F(ZeroPointTest, ChannelsThatAreNotFiniteStayAlone) {
    Matrices x(3, 33, 100, 1);
    x.w[5 * x.K + 7] = std::numeric_limits<float>::quiet_NaN();
    x.w[6 * x.K + 7] = std::numeric_limits<float>::infinity();
    const auto packed = pack(x, Precision::kBalanced);
    std::vector<float> out(x.M * x.N);
    ASSERT_TRUE(npu_->multiply(*packed, x.a.data(), x.M, out.data()).ok());
    for (size_t m = 0; m < x.M; ++m) {
        for (size_t n = 0; n < x.N; ++n)
            EXPECT_EQ(std::isfinite(out[m * x.N + n]), n != 5 && n != 6) << m << ", " << n;
    }
}

}  // namespace
}  // namespace rknpu2
