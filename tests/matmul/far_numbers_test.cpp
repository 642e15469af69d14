// SPDX-License-Identifier: MIT
// Activations and weights from the largest float down to the smallest: products that a float can hold are
// near, in every precision, and what was ordinary keeps its bits.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "calibration/stats_library.hpp"
#include "matmul/fake_device.hpp"
#include "matmul/matrices.hpp"
#include "matmul/npu_device.hpp"

namespace rknpu2 {
namespace {

using testing::FakeState;
using testing::Matrices;

constexpr size_t kN = 45;
// Blocks of 32 with padding; blocks that are mixed (9 of 64); two segments in int8 and fp16.
constexpr size_t kDepths[] = {1000, 576, 9000};

// The largest and smallest magnitudes, those at which the rules for scales change, and some in between.
constexpr float kMagnitudes[] = {3.3e38F, 1e38F,  1e36F,  6e35F,  1e30F,  1e25F,  1e19F,  1e10F,  1.0F,
                                 1e-10F,  1e-19F, 1e-25F, 1e-30F, 1e-36F, 1e-38F, 1e-40F, 1e-43F, 1e-45F};

double bound(Precision precision) {
    switch (precision) {
        case Precision::kExact:
            return 1e-3;
        case Precision::kNaive:
        case Precision::kFast:
            return 0.025;
        default:
            return 0.015;
    }
}

class FarNumbersTest : public ::testing::TestWithParam<Precision> {
  protected:
    std::vector<float> multiply(const Matrices& x, ModelStats statistics = {}) {
        const auto npu = testing::new_device(state_, counters_, GetParam());
        if (!statistics.empty()) npu->use_stats(std::make_unique<StatsLibrary>(statistics));
        std::vector<float> out(x.M * x.N, std::nanf(""));
        const auto packed = npu->pack(x.source());
        EXPECT_TRUE(packed.ok()) << packed.status().to_string();
        EXPECT_TRUE(npu->multiply(*packed.value(), x.a.data(), x.M, out.data()).ok());
        return out;
    }

    // The largest becomes `magnitude`: nothing is infinite, and not all is nothing.
    static void stretch(float* values, size_t count, float magnitude) {
        double largest = 0;
        for (size_t i = 0; i < count; ++i)
            largest = std::max(largest, std::fabs(static_cast<double>(values[i])));
        for (size_t i = 0; i < count; ++i)
            values[i] = static_cast<float>(values[i] / largest * magnitude);
    }

    // Norm of the difference over that of the result in row m, of columns first, first + step, ...; rounding
    // of the results themselves, which counts where they are denormal, left out.
    static double error_of_row(const Matrices& x, const std::vector<float>& out, size_t m, size_t first = 0,
                               size_t step = 1) {
        double difference = 0;
        double total = 0;
        for (size_t n = first; n < x.N; n += step) {
            const double exact = x.exact(m, n);
            const double grain = 4.0 * std::numeric_limits<float>::denorm_min();
            const double off = std::max(std::fabs(out[m * x.N + n] - exact) - grain, 0.0);
            if (std::isnan(out[m * x.N + n])) return std::nan("");
            difference += off / 1e38 * (off / 1e38);
            total += exact / 1e38 * (exact / 1e38);
        }
        return std::sqrt(difference / total);
    }

    FakeState state_;
    Counters counters_;
};

// All but `naive`, which has one scale for all rows and channels.
class FarRowsTest : public FarNumbersTest {};

// Those that rotate, and so take statistics.
class FarStatisticsTest : public FarNumbersTest {};

// Each row is multiplied by itself, since `naive` has one scale for all of them.
TEST_P(FarNumbersTest, RowsOfEveryMagnitude) {
    for (const size_t K : kDepths) {
        for (const float magnitude : kMagnitudes) {
            Matrices x(1, kN, K, 1);
            stretch(x.a.data(), K, magnitude);
            // What a float can hold: results of large rows are not to overflow, nor those of small ones to
            // have no bits.
            stretch(x.w.data(), x.w.size(), magnitude > 1e30F ? 0.01F : magnitude < 1e-30F ? 1e10F : 1.0F);
            EXPECT_LT(error_of_row(x, multiply(x), 0), bound(GetParam())) << K << ", " << magnitude;
        }
    }
}

// Ordinary rows beside them: bit for bit as without them.
TEST_P(FarRowsTest, OrdinaryRowsKeepTheirBits) {
    const Matrices ordinary(2 * std::size(kMagnitudes), kN, 1000, 2);
    Matrices x = ordinary;
    for (size_t i = 0; i < std::size(kMagnitudes); ++i)
        stretch(x.a.data() + (2 * i + 1) * x.K, x.K, kMagnitudes[i]);
    const std::vector<float> expected = multiply(ordinary);
    const std::vector<float> out = multiply(x);
    for (size_t m = 0; m < x.M; m += 2) {
        for (size_t n = 0; n < x.N; ++n)
            EXPECT_EQ(out[m * x.N + n], expected[m * x.N + n]) << m << ", " << n;
    }
    for (size_t m = 1; m < x.M; m += 2) {
        if (kMagnitudes[m / 2] > 1e36F || kMagnitudes[m / 2] < 1e-42F)
            continue;  // no float holds the results
        EXPECT_LT(error_of_row(x, out, m), bound(GetParam())) << kMagnitudes[m / 2];
    }
}

// A row that is not finite has none of its own, and so has no row beside it.
TEST_P(FarRowsTest, WhatIsNotFiniteStaysInItsRow) {
    Matrices x(4, kN, 1000, 3);
    stretch(x.a.data(), x.K, 1e37F);
    stretch(x.a.data() + 2 * x.K, x.K, 1e-38F);
    const std::vector<float> expected = multiply(x);
    x.a[1 * x.K + 7] = std::numeric_limits<float>::infinity();
    x.a[3 * x.K + 999] = std::nanf("");
    const std::vector<float> out = multiply(x);
    for (size_t n = 0; n < x.N; ++n) {
        EXPECT_EQ(out[n], expected[n]);
        EXPECT_FALSE(std::isfinite(out[x.N + n]));
        EXPECT_EQ(out[2 * x.N + n], expected[2 * x.N + n]);
        EXPECT_FALSE(std::isfinite(out[3 * x.N + n]));
    }
}

// One row of FLT_MAX and -FLT_MAX, and one of nothing else: sums of a block are 512 times as large.
TEST_P(FarNumbersTest, TheLargestFloatEverywhere) {
    for (const float other : {1.0F, -1.0F}) {
        Matrices x(1, kN, 1024, 4);
        for (size_t k = 0; k < x.K; ++k)
            x.a[k] = std::numeric_limits<float>::max() * (k % 2 == 0 ? 1.0F : other);
        stretch(x.w.data(), x.w.size(), 1e-3F);
        EXPECT_LT(error_of_row(x, multiply(x), 0), bound(GetParam())) << other;
    }
}

// Channels of every magnitude side by side; with activations that bring the product back among the floats.
TEST_P(FarRowsTest, ChannelsOfEveryMagnitude) {
    constexpr size_t kCount = std::size(kMagnitudes);
    for (const size_t K : kDepths) {
        const Matrices ordinary(3, 2 * kCount, K, 5);
        Matrices x = ordinary;
        for (size_t i = 0; i < kCount; ++i)
            stretch(x.w.data() + (2 * i + 1) * K, K, kMagnitudes[i]);
        stretch(x.a.data() + 1 * K, K, 1e-3F);
        stretch(x.a.data() + 2 * K, K, 1e36F);
        const std::vector<float> out = multiply(x);
        const std::vector<float> expected = multiply(ordinary);
        for (size_t n = 0; n < x.N; ++n) {
            const bool far = n % 2 == 1;
            if (!far) {
                EXPECT_EQ(out[n], expected[n]) << n;
                continue;
            }
            const float magnitude = kMagnitudes[n / 2];
            for (size_t m = 0; m < x.M; ++m) {
                const double exact = x.exact(m, n);
                if (std::fabs(exact) > 3e38 || std::fabs(exact) < 1e-42) continue;
                double row = 0;
                double weight = 0;
                for (size_t k = 0; k < K; ++k) {
                    row += static_cast<double>(x.a[m * K + k]) * x.a[m * K + k];
                    weight += static_cast<double>(x.w[n * K + k]) * x.w[n * K + k];
                }
                // One product, not a vector of them: its error beside what such a product usually is.
                const double usual = std::sqrt(row) * std::sqrt(weight) / std::sqrt(static_cast<double>(K));
                EXPECT_LT(std::fabs(out[m * x.N + n] - exact) / usual, 5 * bound(GetParam()))
                    << "K " << K << ", row " << m << ", channel of " << magnitude;
            }
        }
    }
}

// Whole weights, so that `naive` has a scale for them; evenly distributed, so that they are not rotated; and
// rotated.
TEST_P(FarNumbersTest, WeightsOfEveryMagnitude) {
    for (const bool even : {false, true}) {
        for (const float magnitude : kMagnitudes) {
            Matrices x(1, kN, 1000, 6);
            for (size_t i = 0; even && i < x.w.size(); ++i)
                x.w[i] = std::erf(x.w[i] / std::sqrt(2.0F));
            stretch(x.w.data(), x.w.size(), magnitude);
            stretch(x.a.data(), x.K, magnitude > 1e30F ? 0.01F : magnitude < 1e-30F ? 1e10F : 1.0F);
            EXPECT_LT(error_of_row(x, multiply(x), 0), bound(GetParam())) << even << ", " << magnitude;
        }
    }
}

// Both: the one's scale is as large as the other's is small.
TEST_P(FarNumbersTest, LargeTimesSmall) {
    for (const auto& [of_rows, of_weights] : {std::pair{1e36F, 1e-38F}, {1e-38F, 1e36F}, {3e38F, 1e-44F}}) {
        Matrices x(1, kN, 1000, 7);
        stretch(x.a.data(), x.a.size(), of_rows);
        stretch(x.w.data(), x.w.size(), of_weights);
        EXPECT_LT(error_of_row(x, multiply(x), 0), bound(GetParam())) << of_rows << " x " << of_weights;
    }
}

// Statistics of such activations: what they are multiplied by, and what is added to each result.
TEST_P(FarStatisticsTest, StatisticsOfEveryMagnitude) {
    for (const float magnitude : kMagnitudes) {
        Matrices x(2, kN, 1000, 8);
        stretch(x.a.data(), x.K, magnitude);
        stretch(x.w.data(), x.w.size(), magnitude > 1e30F ? 0.01F : magnitude < 1e-30F ? 1e10F : 1.0F);
        ActivationStats entry;
        entry.N = x.N;
        entry.K = x.K;
        entry.fingerprint = weight_fingerprint(x.source());
        entry.rows = 1000;
        for (size_t k = 0; k < x.K; ++k) {
            const double value = x.a[k];
            entry.mean.push_back(static_cast<float>(value / 100));
            entry.mean_square.push_back(static_cast<float>(std::min(value * value, 3.4e38)));
        }
        const std::vector<float> out = multiply(x, {{"w", entry}});
        // Channels count for their statistics and not for what the row holds, hence more.
        EXPECT_LT(error_of_row(x, out, 0), 2 * bound(GetParam())) << magnitude;
        // The ordinary row gets what was added for the mean of others.
        for (size_t n = 0; n < x.N; ++n)
            EXPECT_TRUE(std::isfinite(out[x.N + n])) << magnitude;
    }
}

std::string name_of(const ::testing::TestParamInfo<Precision>& tested) {
    return precision_name(tested.param);
}

INSTANTIATE_TEST_SUITE_P(Precisions, FarNumbersTest,
                         ::testing::Values(Precision::kFast, Precision::kBalanced, Precision::kExact,
                                           Precision::kNaive),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Precisions, FarRowsTest,
                         ::testing::Values(Precision::kFast, Precision::kBalanced, Precision::kExact),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Precisions, FarStatisticsTest,
                         ::testing::Values(Precision::kFast, Precision::kBalanced), name_of);

// As above, whatever is not finite.
TEST(NaiveWeightTest, WhatIsNotFiniteStaysInItsChannel) {
    Matrices x(2, kN, 1000, 9);
    FakeState state;
    Counters counters;
    const auto npu = testing::new_device(state, counters, Precision::kNaive);
    const auto multiply = [&] {
        std::vector<float> out(x.M * x.N);
        const auto packed = npu->pack(x.source());
        EXPECT_TRUE(packed.ok());
        EXPECT_TRUE(npu->multiply(*packed.value(), x.a.data(), x.M, out.data()).ok());
        return out;
    };
    const std::vector<float> expected = multiply();
    x.w[7 * x.K + 3] = std::nanf("");
    x.w[9 * x.K + 3] = -std::numeric_limits<float>::infinity();
    const std::vector<float> out = multiply();
    for (size_t m = 0; m < x.M; ++m) {
        for (size_t n = 0; n < x.N; ++n) {
            if (n == 7 || n == 9) {
                EXPECT_FALSE(std::isfinite(out[m * x.N + n]));
            } else {
                EXPECT_EQ(out[m * x.N + n], expected[m * x.N + n]) << m << ", " << n;
            }
        }
    }
}

}  // namespace
}  // namespace rknpu2
