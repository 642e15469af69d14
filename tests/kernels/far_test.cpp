// SPDX-License-Identifier: MIT
#include "kernels/far.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

constexpr float kMost = std::numeric_limits<float>::max();
constexpr float kLeast = std::numeric_limits<float>::denorm_min();

TEST(Far, ScalesAreWhatTheyStandFor) {
    for (const double scale : {1e-54, 1.4e-45, 1e-30, 0.25, 3.0, 1e30, 3.4e38, 1e42}) {
        const float kept = far_scale(scale);
        EXPECT_TRUE(is_far(kept));
        EXPECT_NEAR(scale_value(kept) / scale, 1.0, 0x1p-22) << scale;
    }
    for (const float scale : {0.0F, 1e-38F, 0.3F, kMost}) {
        EXPECT_FALSE(is_far(scale));
        EXPECT_EQ(scale_value(scale), static_cast<double>(scale));
    }
    EXPECT_FALSE(is_far(std::nanf("")));
    EXPECT_TRUE(std::isnan(scale_value(std::nanf(""))));
}

TEST(Far, UnitsAreExactAndBringRowsNear) {
    for (const float largest : {kLeast, 1e-38F, 0.5F, 1.0F, 3.99F, 4.0F, 1e20F, kMost}) {
        const double unit = unit_of(largest);
        EXPECT_GE(largest / unit, 1.0) << largest;
        EXPECT_LT(largest / unit, 4.0) << largest;
        EXPECT_EQ(scale_value(far_scale(unit)), unit);
    }
}

TEST(Far, OnlyRowsThatAreFarAreDivided) {
    const auto brought = [](std::vector<float> row) {
        const double unit = bring_near(row.data(), row.size());
        return std::pair{unit, row};
    };
    for (const float value : {0.0F, kLeastNear, -1.0F, kMostNear}) {
        const auto [unit, row] = brought({0.0F, value});
        EXPECT_EQ(unit, 1.0);
        EXPECT_EQ(row[1], value);
    }
    const auto [no_unit, not_finite] = brought({1e38F, std::numeric_limits<float>::infinity()});
    EXPECT_EQ(no_unit, 1.0);
    EXPECT_EQ(not_finite[0], 1e38F);
    for (const float value : {-kLeast, 1e-20F, -2e19F, kMost}) {
        const auto [unit, row] = brought({value / 2, value});
        EXPECT_NE(unit, 1.0) << value;
        EXPECT_EQ(row[1] * unit, static_cast<double>(value));
        EXPECT_TRUE(is_near(std::fabs(row[1])));
    }
}

TEST(Far, TensorScalesAreOrdinaryWhereTheyCanBe) {
    EXPECT_EQ(int8_tensor_scale(0.0F), 0.0F);
    EXPECT_EQ(int8_tensor_scale(127.0F), 1.0F);
    EXPECT_TRUE(std::isnan(int8_tensor_scale(std::nanf(""))));
    for (const float absmax : {kLeast, 1e-30F, 1e30F, kMost}) {
        EXPECT_TRUE(is_far(int8_tensor_scale(absmax)));
        EXPECT_NEAR(scale_value(int8_tensor_scale(absmax)) * 127 / static_cast<double>(absmax), 1, 1e-6);
    }
}

// What no float could hold on the way is no harm.
TEST(Far, RowsAreScaledWithoutLeavingTheFloats) {
    constexpr size_t kN = 5;
    constexpr size_t kRows = 4;
    std::vector<int32_t> integers(8 * kRows);
    std::vector<float> floats(8 * kRows);
    for (size_t n = 0; n < kN; ++n) {
        const size_t at = c_index_native(2, n, kRows, DType::kInt32);
        integers[at] = 1000000 * static_cast<int32_t>(n) - 1;
        floats[at] = static_cast<float>(integers[at]);
    }
    const std::vector<float> channels = {1e-30F, 1.0F, far_scale(1e-45), 2.0F, std::nanf("")};
    for (const double scale : {1e35, 1e-44}) {
        for (const Accumulate mode : {Accumulate::kStore, Accumulate::kAdd}) {
            std::vector<float> of_integers(kN, 7.0F);
            std::vector<float> of_floats(kN, 7.0F);
            const float row_scale = far_scale(scale);
            dequantise_far_row(CubeToRows<int32_t>{integers.data(), kRows, 2, 1, kN, &row_scale,
                                                   channels.data(), of_integers.data(), kN, mode});
            dequantise_far_row(CubeToRows<float>{floats.data(), kRows, 2, 1, kN, &row_scale, channels.data(),
                                                 of_floats.data(), kN, mode});
            for (size_t n = 0; n + 1 < kN; ++n) {
                const double value = (1e6 * static_cast<double>(n) - 1) * scale * scale_value(channels[n]);
                const double expected = value + (mode == Accumulate::kAdd ? 7 : 0);
                if (std::fabs(expected) <= static_cast<double>(kMost)) {
                    EXPECT_NEAR(of_integers[n], expected, std::fabs(expected) * 1e-6 + 1e-44) << n;
                }
                EXPECT_EQ(of_floats[n], of_integers[n]);
            }
            EXPECT_TRUE(std::isnan(of_integers[kN - 1]) && std::isnan(of_floats[kN - 1]));
        }
    }
}

}  // namespace
}  // namespace rknpu2
