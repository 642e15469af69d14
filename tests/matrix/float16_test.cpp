// SPDX-License-Identifier: MIT
#include "matrix/float16.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace rknpu2 {
namespace {

TEST(Float16, EveryValueSurvivesTheRoundTrip) {
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
        const auto half = static_cast<uint16_t>(bits);
        const float value = float16_to_float(half);
        if (std::isnan(value)) {
            EXPECT_EQ(float_to_float16(value) & 0x7E00, 0x7E00);
        } else {
            ASSERT_EQ(float_to_float16(value), half) << "bits " << bits;
        }
    }
}

// Nearest, ties to even, proved against its definition: of the two neighbours the closer one, or the even
// one.
TEST(Float16, RoundsToNearestEven) {
    for (uint32_t bits = 0; bits < 0x7BFF; ++bits) {
        const double low = float16_to_float(static_cast<uint16_t>(bits));
        const double high = float16_to_float(static_cast<uint16_t>(bits + 1));
        const double middle = (low + high) / 2;
        const auto even = static_cast<uint16_t>(bits % 2 == 0 ? bits : bits + 1);
        const auto middle_float = static_cast<float>(middle);
        ASSERT_EQ(static_cast<double>(middle_float), middle);
        ASSERT_EQ(float_to_float16(middle_float), even);
        ASSERT_EQ(float_to_float16(-middle_float), even | 0x8000);
        ASSERT_EQ(float_to_float16(std::nextafter(middle_float, 0.0F)), bits);
        ASSERT_EQ(float_to_float16(std::nextafter(middle_float, 1e9F)), bits + 1);
    }
}

TEST(Float16, Extremes) {
    EXPECT_EQ(float_to_float16(65519.996F), 0x7BFF);
    EXPECT_EQ(float_to_float16(65520.0F), 0x7C00);
    EXPECT_EQ(float_to_float16(std::numeric_limits<float>::infinity()), 0x7C00);
    EXPECT_EQ(float_to_float16(-1e38F), 0xFC00);
    EXPECT_EQ(float_to_float16(0x1p-25F), 0);
    EXPECT_EQ(float_to_float16(std::nextafter(0x1p-25F, 1.0F)), 1);
    EXPECT_EQ(float_to_float16(-0.0F), 0x8000);
}

}  // namespace
}  // namespace rknpu2
