// SPDX-License-Identifier: MIT
// Activations and weights that are hard to round, or no numbers at all: each row for itself, in every
// precision.
#include <gtest/gtest.h>

#include <limits>

#include "matmul/fake_device.hpp"
#include "matmul/matrices.hpp"
#include "matmul/npu_device.hpp"

namespace rknpu2 {
namespace {

using testing::FakeState;
using testing::Matrices;

// K has whole blocks of 32 and padding, N no alignment.
constexpr size_t kK = 1000;
constexpr size_t kN = 45;

class HardInputsTest : public ::testing::TestWithParam<Precision> {
  protected:
    std::vector<float> multiply(const Matrices& x) {
        const auto npu = testing::new_device(state_, counters_, GetParam());
        std::vector<float> out(x.M * x.N, std::nanf(""));
        const auto packed = npu->pack(x.source());
        EXPECT_TRUE(packed.ok()) << packed.status().to_string();
        EXPECT_TRUE(npu->multiply(*packed.value(), x.a.data(), x.M, out.data()).ok());
        return out;
    }

    // Norm of the difference over that of the result, in row m.
    static double error_of_row(const Matrices& x, const std::vector<float>& out, size_t m) {
        double difference = 0;
        double total = 0;
        for (size_t n = 0; n < x.N; ++n) {
            const double exact = x.exact(m, n);
            difference += (out[m * x.N + n] - exact) * (out[m * x.N + n] - exact);
            total += exact * exact;
        }
        return std::sqrt(difference / total);
    }

    static double bound() {
        return GetParam() == Precision::kExact ? 1e-3 : GetParam() == Precision::kBalanced ? 0.015 : 0.025;
    }

    FakeState state_;
    Counters counters_;
};

TEST_P(HardInputsTest, OutliersConstantsAndExtremeMagnitudes) {
    Matrices x(9, kN, kK, 1);
    float* const a = x.a.data();
    a[1 * kK + 17] *= 1000;  // one channel a thousand times the rest
    for (const size_t k : {3U, 400U, 999U})
        a[2 * kK + k] *= 1000;
    for (size_t k = 0; k < kK; ++k) {
        a[3 * kK + k] = 1;                       // constant
        a[4 * kK + k] *= 65504.0F / 5;           // about the largest half
        a[5 * kK + k] *= 1e6F;                   // beyond it
        a[6 * kK + k] *= 1e30F;                  // far beyond it
        a[7 * kK + k] *= 1e-6F;                  // below the smallest normal half
        a[8 * kK + k] *= k % 2 == 0 ? 1 : 1e4F;  // every other channel is large
    }
    const std::vector<float> out = multiply(x);
    for (size_t m = 0; m < x.M; ++m)
        EXPECT_LT(error_of_row(x, out, m), bound()) << "row " << m;
}

TEST_P(HardInputsTest, WeightsWithOutliers) {
    Matrices x(3, kN, kK, 2);
    for (size_t n = 0; n < kN; ++n) {
        x.w[n * kK + 5] *= 100;       // the same channel in every row of the weight
        x.w[n * kK + 10 * n] *= 100;  // and another in each
    }
    const std::vector<float> out = multiply(x);
    for (size_t m = 0; m < x.M; ++m)
        EXPECT_LT(error_of_row(x, out, m), 2 * bound()) << "row " << m;
}

TEST_P(HardInputsTest, ZerosGiveZeros) {
    Matrices x(3, kN, kK, 3);
    std::fill_n(x.a.begin() + kK, kK, 0.0F);      // row 1 of the activations
    std::fill_n(x.w.begin() + 7 * kK, kK, 0.0F);  // channel 7
    const std::vector<float> out = multiply(x);
    for (size_t n = 0; n < kN; ++n)
        EXPECT_EQ(out[kN + n], 0.0F);
    for (size_t m = 0; m < x.M; ++m)
        EXPECT_EQ(out[m * kN + 7], 0.0F);
    EXPECT_LT(error_of_row(x, out, 0), bound());
}

TEST_P(HardInputsTest, DenormalsGiveSomethingSmall) {
    Matrices x(2, kN, kK, 4);
    for (size_t k = 0; k < kK; ++k)
        x.a[kK + k] = (k % 2 == 0 ? 1e-40F : -3e-41F);
    const std::vector<float> out = multiply(x);
    for (size_t n = 0; n < kN; ++n)
        EXPECT_LT(std::fabs(out[kN + n]), 1e-35F);
}

// Rows that are not finite become NaN or infinite, and no bit of another row changes.
TEST_P(HardInputsTest, WhatIsNotFiniteStaysInItsRow) {
    const Matrices clean(7, kN, kK, 5);
    Matrices dirty = clean;
    const float infinity = std::numeric_limits<float>::infinity();
    dirty.a[1 * kK + 30] = std::nanf("");
    dirty.a[3 * kK + 999] = infinity;
    dirty.a[5 * kK + 0] = -infinity;
    dirty.a[5 * kK + 1] = infinity;
    const std::vector<float> expected = multiply(clean);
    const std::vector<float> out = multiply(dirty);
    for (size_t m = 0; m < clean.M; ++m) {
        for (size_t n = 0; n < kN; ++n) {
            if (m % 2 == 1) {
                EXPECT_FALSE(std::isfinite(out[m * kN + n])) << m << ", " << n;
            } else {
                EXPECT_EQ(out[m * kN + n], expected[m * kN + n]) << m << ", " << n;
            }
        }
    }
}

TEST_P(HardInputsTest, AWeightThatIsNotFiniteStaysInItsChannel) {
    const Matrices clean(3, kN, kK, 6);
    Matrices dirty = clean;
    dirty.w[4 * kK + 100] = std::nanf("");
    dirty.w[44 * kK + 999] = std::numeric_limits<float>::infinity();
    const std::vector<float> expected = multiply(clean);
    const std::vector<float> out = multiply(dirty);
    for (size_t m = 0; m < clean.M; ++m) {
        for (size_t n = 0; n < kN; ++n) {
            if (n == 4 || n == 44) {
                EXPECT_FALSE(std::isfinite(out[m * kN + n]));
            } else {
                EXPECT_EQ(out[m * kN + n], expected[m * kN + n]);
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Precisions, HardInputsTest,
                         ::testing::Values(Precision::kFast, Precision::kBalanced, Precision::kExact),
                         [](const auto& tested) { return std::string(precision_name(tested.param)); });

// One scale for all rows is what `naive` is, but a row that is not finite must not take the others with it.
TEST(NaiveTest, WhatIsNotFiniteStaysInItsRow) {
    Matrices x(3, kN, kK, 7);
    x.a[kK + 5] = std::nanf("");
    FakeState state;
    Counters counters;
    const auto npu = testing::new_device(state, counters, Precision::kNaive);
    std::vector<float> out(x.M * x.N);
    const auto packed = npu->pack(x.source());
    ASSERT_TRUE(packed.ok());
    ASSERT_TRUE(npu->multiply(*packed.value(), x.a.data(), x.M, out.data()).ok());
    for (size_t n = 0; n < kN; ++n) {
        EXPECT_TRUE(std::isfinite(out[n]));
        EXPECT_TRUE(std::isnan(out[kN + n]));
        EXPECT_TRUE(std::isfinite(out[2 * kN + n]));
    }
}

}  // namespace
}  // namespace rknpu2
