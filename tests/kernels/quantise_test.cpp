// SPDX-License-Identifier: MIT
#include "kernels/quantise.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "kernels/kernel_cases.hpp"
#include "kernels/scale.hpp"
#include "matrix/float16.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

using test::Edge;
using test::GuardedBuffer;
using test::Random;
using test::same_bits;
using test::same_floats;

// A random call: M rows of K values into rows m0 .. of a cube that may be larger in both directions.
struct Case {
    size_t M, K, stride, K_padded, M_total, m0;

    explicit Case(Random& random, size_t longest = 300) {
        M = random.one_in(4) ? 1 : random.size(1, 13);
        K = random.one_in(20) ? 1 : random.size(1, longest);
        stride = K + random.size(0, 5);
        K_padded = round_up(K, kTileK) + kTileK * (random.one_in(4) ? random.size(1, 20) : 0);
        m0 = random.one_in(2) ? 0 : random.size(0, 6);
        M_total = m0 + M + (random.one_in(2) ? 0 : random.size(0, 6));
    }
    std::string text() const {
        return "M=" + std::to_string(M) + " K=" + std::to_string(K) +
               " K_padded=" + std::to_string(K_padded) + " M_total=" + std::to_string(M_total) +
               " m0=" + std::to_string(m0);
    }
};

// The three storing operations under one form, so that every property is tested for each.
enum class Operation { kInt8, kInt8Scaled, kFloat16 };
constexpr float kCommonScale = 0.03F;

void run(Operation operation, const float* x, const Case& c, int8_t* native, float* scales, TestTier tier) {
    if (operation == Operation::kInt8) {
        quantise_rows_int8({x, c.stride, c.M, c.K, c.K_padded, c.M_total, c.m0, native}, scales, tier);
    } else {
        quantise_rows_int8_scaled({x, c.stride, c.M, c.K, c.K_padded, c.M_total, c.m0, native}, kCommonScale,
                                  scales, tier);
    }
}
void run(Operation, const float* x, const Case& c, uint16_t* native, float* scales, TestTier tier) {
    convert_rows_fp16({x, c.stride, c.M, c.K, c.K_padded, c.M_total, c.m0, native}, scales, tier);
}

template <typename Element>
void expect_tiers_agree(Random& random, Operation operation) {
    for (int i = 0; i < 400; ++i) {
        const Case c(random, i % 10 == 0 ? 2500 : 300);
        SCOPED_TRACE(c.text());
        const auto x = test::random_rows(random, c.M, c.K, c.stride);
        const GuardedBuffer<Element> expected(c.K_padded * c.M_total);
        const GuardedBuffer<float> expected_scales(c.M);
        run(operation, x.data(), c, expected.data(), expected_scales.data(), TestTier::kReference);
        for (const TestTier tier : test_tiers()) {
            for (const Edge edge : {Edge::kEnd, Edge::kBegin}) {
                const GuardedBuffer<Element> native(c.K_padded * c.M_total, edge);
                const GuardedBuffer<float> scales(c.M, edge);
                run(operation, x.data(), c, native.data(), scales.data(), tier);
                ASSERT_TRUE(same_bits(native, expected)) << kernel_tier_name(tier);
                ASSERT_TRUE(same_floats(scales, expected_scales)) << kernel_tier_name(tier);
            }
        }
    }
}

TEST(Quantise, TiersAgreeInt8) {
    Random random;
    expect_tiers_agree<int8_t>(random, Operation::kInt8);
}
TEST(Quantise, TiersAgreeInt8Scaled) {
    Random random;
    expect_tiers_agree<int8_t>(random, Operation::kInt8Scaled);
}
TEST(Quantise, TiersAgreeFloat16) {
    Random random;
    expect_tiers_agree<uint16_t>(random, Operation::kFloat16);
}

// With two different backgrounds: every byte of the rows is written, the padding in K with zeros, and no byte
// of other rows is touched.
template <typename Element>
void expect_own_rows_written(Random& random, Operation operation, DType type) {
    for (int i = 0; i < 100; ++i) {
        const Case c(random);
        SCOPED_TRACE(c.text());
        const auto x = test::random_rows(random, c.M, c.K, c.stride);
        const GuardedBuffer<float> scales(c.M);
        GuardedBuffer<Element> one(c.K_padded * c.M_total, Edge::kEnd, 0x11);
        GuardedBuffer<Element> two(c.K_padded * c.M_total, Edge::kEnd, 0xEE);
        const GuardedBuffer<Element> background_one(1, Edge::kEnd, 0x11);
        const GuardedBuffer<Element> background_two(1, Edge::kEnd, 0xEE);
        run(operation, x.data(), c, one.data(), scales.data(), test_tiers().back());
        run(operation, x.data(), c, two.data(), scales.data(), test_tiers().back());
        for (size_t m = 0; m < c.M_total; ++m) {
            const bool own = m >= c.m0 && m < c.m0 + c.M;
            for (size_t k = 0; k < c.K_padded; ++k) {
                const size_t at = a_index_native(m, k, c.M_total, type);
                if (own) {
                    ASSERT_EQ(one[at], two[at]) << m << "," << k;
                    if (k >= c.K) {
                        ASSERT_EQ(one[at], Element{0}) << m << "," << k;
                    }
                } else {
                    ASSERT_EQ(one[at], background_one[0]) << m << "," << k;
                    ASSERT_EQ(two[at], background_two[0]) << m << "," << k;
                }
            }
        }
        zero_rows(c.m0, c.m0 + c.M, c.K_padded, c.M_total, one.data());
        for (size_t m = 0; m < c.M_total; ++m) {
            const bool own = m >= c.m0 && m < c.m0 + c.M;
            for (size_t k = 0; k < c.K_padded; ++k) {
                ASSERT_EQ(one[a_index_native(m, k, c.M_total, type)], own ? Element{0} : background_one[0]);
            }
        }
    }
}

TEST(Quantise, WritesItsOwnRowsWholeAndNothingElse) {
    Random random;
    expect_own_rows_written<int8_t>(random, Operation::kInt8, DType::kInt8);
    expect_own_rows_written<int8_t>(random, Operation::kInt8Scaled, DType::kInt8);
    expect_own_rows_written<uint16_t>(random, Operation::kFloat16, DType::kFloat16);
}

// A row's bits and scale are the same whatever its neighbours are; one with a value that is not finite is
// zeros under the scale NaN.
template <typename Element>
void expect_rows_independent(Random& random, Operation operation) {
    for (int i = 0; i < 100; ++i) {
        const Case c(random);
        SCOPED_TRACE(c.text());
        const auto x = test::random_rows(random, c.M, c.K, c.stride);
        const GuardedBuffer<Element> native(c.K_padded * c.M_total);
        const GuardedBuffer<float> scales(c.M);
        run(operation, x.data(), c, native.data(), scales.data(), test_tiers().back());
        Case alone = c;
        alone.M = alone.M_total = 1;
        alone.m0 = 0;
        for (size_t m = 0; m < c.M; ++m) {
            const GuardedBuffer<Element> single(c.K_padded);
            const GuardedBuffer<float> scale(1);
            run(operation, x.data() + m * c.stride, alone, single.data(), scale.data(), test_tiers().back());
            const GuardedBuffer<Element> row(c.K_padded);
            test::unpack_rows(native.data(), c.M_total, c.m0 + m, 1, c.K_padded, row.data());
            ASSERT_TRUE(same_bits(row, single)) << "row " << m;
            ASSERT_TRUE(test::same_float(scales[m], scale[0])) << "row " << m;
            const bool finite = test::all_finite(x.data() + m * c.stride, c.K);
            ASSERT_EQ(std::isnan(scales[m]), !finite) << "row " << m;
            if (!finite) {
                for (const Element value : row)
                    ASSERT_EQ(value, Element{0});
            }
        }
    }
}

TEST(Quantise, RowsAreIndependent) {
    Random random;
    expect_rows_independent<int8_t>(random, Operation::kInt8);
    expect_rows_independent<int8_t>(random, Operation::kInt8Scaled);
    expect_rows_independent<uint16_t>(random, Operation::kFloat16);
}

TEST(Quantise, LargestMagnitudesThatTheCallerKnowsMakeNoDifference) {
    Random random;
    for (int i = 0; i < 100; ++i) {
        const Case c(random);
        SCOPED_TRACE(c.text());
        const auto x = test::random_rows(random, c.M, c.K, c.stride);
        const GuardedBuffer<int8_t> expected(c.K_padded * c.M_total);
        const GuardedBuffer<float> expected_scales(c.M);
        run(Operation::kInt8, x.data(), c, expected.data(), expected_scales.data(), TestTier::kReference);
        const GuardedBuffer<float> absmax(c.M);
        for (size_t m = 0; m < c.M; ++m)
            absmax[m] = row_absmax(x.data() + m * c.stride, c.K);
        for (const TestTier tier : test_tiers()) {
            const GuardedBuffer<int8_t> native(c.K_padded * c.M_total);
            const GuardedBuffer<float> scales(c.M);
            quantise_rows_int8({x.data(), c.stride, c.M, c.K, c.K_padded, c.M_total, c.m0, native.data()},
                               scales.data(), tier, nullptr, absmax.data());
            ASSERT_TRUE(same_bits(native, expected)) << kernel_tier_name(tier);
            ASSERT_TRUE(same_floats(scales, expected_scales)) << kernel_tier_name(tier);
        }
    }
}

TEST(Quantise, Int8TiesGoToEvenAndTheRangeIsSymmetric) {
    std::vector<float> x{127.0F};  // scale 1
    std::vector<int> expected{127};
    for (int q = -126; q < 126; ++q) {
        const float middle = static_cast<float>(q) + 0.5F;
        x.insert(x.end(), {middle, std::nextafter(middle, -1e9F), std::nextafter(middle, 1e9F)});
        expected.insert(expected.end(), {q % 2 == 0 ? q : q + 1, q, q + 1});
    }
    x.push_back(-127.0F);
    expected.push_back(-127);
    const size_t K = x.size();
    const size_t K_padded = round_up(K, kTileK);
    for (const TestTier tier : test_tiers()) {
        const GuardedBuffer<int8_t> native(K_padded);
        float scale = 0;
        quantise_rows_int8({x.data(), K, 1, K, K_padded, 1, 0, native.data()}, &scale, tier);
        EXPECT_EQ(scale, 1.0F);
        for (size_t k = 0; k < K; ++k)
            ASSERT_EQ(native[k], expected[k]) << x[k] << " " << kernel_tier_name(tier);
    }
}

TEST(Quantise, Int8IsWithinHalfAStep) {
    Random random;
    for (int i = 0; i < 200; ++i) {
        const size_t K = random.size(1, 500);
        const size_t K_padded = round_up(K, kTileK);
        const auto x = test::random_rows(random, 1, K, K);
        const GuardedBuffer<int8_t> native(K_padded);
        float scale = 0;
        quantise_rows_int8({x.data(), K, 1, K, K_padded, 1, 0, native.data()}, &scale);
        if (!(scale > 0)) continue;
        int largest = 0;
        for (size_t k = 0; k < K; ++k) {
            ASSERT_GE(native[k], -127);
            largest = std::max(largest, std::abs(static_cast<int>(native[k])));
            const double error = static_cast<double>(x[k]) - static_cast<double>(scale) * native[k];
            ASSERT_LE(std::fabs(error), static_cast<double>(scale) * (0.5 + 1e-4)) << x[k];
        }
        EXPECT_EQ(largest, 127);
    }
}

TEST(Quantise, ACommonScaleSaturates) {
    const float x[] = {1e30F, -1e30F, 12.7F, -200.0F, 0.04F, 0.0F};
    const int expected[] = {127, -127, 127, -127, 0, 0};
    for (const TestTier tier : test_tiers()) {
        const GuardedBuffer<int8_t> native(32);
        float scale = 0;
        quantise_rows_int8_scaled({x, 6, 1, 6, 32, 1, 0, native.data()}, 0.1F, &scale, tier);
        EXPECT_EQ(scale, 0.1F);
        for (size_t k = 0; k < 6; ++k)
            EXPECT_EQ(native[k], expected[k]) << x[k];
        for (const float useless : {0.0F, std::numeric_limits<float>::quiet_NaN()}) {
            quantise_rows_int8_scaled({x, 6, 1, 6, 32, 1, 0, native.data()}, useless, &scale, tier);
            EXPECT_TRUE(test::same_float(scale, useless));
            for (const int8_t value : native)
                EXPECT_EQ(value, 0);
        }
    }
}

TEST(Quantise, Float16KeepsEveryHalfAndRoundsLikeTheDefinition) {
    std::vector<float> x;
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
        const auto half = static_cast<uint16_t>(bits);
        if ((half & 0x7C00) == 0x7C00) continue;
        const float value = float16_to_float(half);
        x.push_back(value);
        if ((half & 0x7FFF) == 0x7BFF) continue;  // nothing beyond the largest half
        const float next = float16_to_float(static_cast<uint16_t>(half + 1));
        const float middle = value + (next - value) / 2;
        x.insert(x.end(), {middle, std::nextafter(middle, 0.0F), std::nextafter(middle, value + next)});
    }
    const size_t K = x.size();
    const size_t K_padded = round_up(K, kTileK);
    for (const TestTier tier : test_tiers()) {
        const GuardedBuffer<uint16_t> native(K_padded);
        float scale = 0;
        convert_rows_fp16({x.data(), K, 1, K, K_padded, 1, 0, native.data()}, &scale, tier);
        EXPECT_EQ(scale, 1.0F);
        for (size_t k = 0; k < K; ++k)
            ASSERT_EQ(native[k], float_to_float16(x[k])) << x[k] << " " << kernel_tier_name(tier);
    }
}

// Scaling by a power of two changes nothing but the exponent: a row that halves cannot hold comes out as the
// row that they can.
TEST(Quantise, Float16ScalesHugeAndTinyRowsExactly) {
    Random random;
    constexpr size_t kK = 96;
    for (const int shift : {20, 100, -30, -100}) {
        float plain[kK];
        float shifted[kK];
        for (size_t k = 0; k < kK; ++k) {
            plain[k] = (1.0F + std::fabs(random.uniform()) / 2) * (k % 2 == 0 ? 1.0F : -1.0F);
            shifted[k] = std::ldexp(plain[k], shift);
        }
        uint16_t expected[kK];
        uint16_t native[kK];
        float one = 0;
        float scale = 0;
        convert_rows_fp16({plain, kK, 1, kK, kK, 1, 0, expected}, &one);
        convert_rows_fp16({shifted, kK, 1, kK, kK, 1, 0, native}, &scale);
        for (size_t k = 0; k < kK; ++k)
            ASSERT_EQ(std::ldexp(float16_to_float(native[k]), std::ilogb(scale)),
                      std::ldexp(float16_to_float(expected[k]), shift));
    }
}

TEST(Quantise, ThreadsShareACube) {
    Random random;
    constexpr size_t kM = 37;
    constexpr size_t kK = 200;
    constexpr size_t kKPadded = 224;
    const auto x = test::random_rows(random, kM, kK, kK);
    const GuardedBuffer<int8_t> expected(kM * kKPadded);
    const GuardedBuffer<int8_t> native(kM * kKPadded);
    const GuardedBuffer<float> expected_scales(kM);
    const GuardedBuffer<float> scales(kM);
    quantise_rows_int8({x.data(), kK, kM, kK, kKPadded, kM, 0, expected.data()}, expected_scales.data());
    std::vector<std::thread> threads;
    for (size_t begin = 0; begin < kM; begin += 5) {
        threads.emplace_back([&, begin] {
            quantise_rows_int8({x.data() + begin * kK, kK, std::min<size_t>(5, kM - begin), kK, kKPadded, kM,
                                begin, native.data()},
                               scales.data() + begin);
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_TRUE(same_bits(native, expected));
    EXPECT_TRUE(same_floats(scales, expected_scales));
}

// Both planes, in every tier: what the rows of the cube add up to, on top of what was there.
TEST(Quantise, RowSumsAreThoseOfTheCube) {
    Random random;
    for (const auto& [M, K, M_total, m0] : {std::tuple<size_t, size_t, size_t, size_t>{1, 700, 1, 0},
                                            {7, 90, 9, 2},
                                            {4, 8192, 16, 8},
                                            {3, 1000, 4, 1}}) {
        const size_t K_padded = round_up(K, kTileK);
        std::vector<float> x(M * K);
        for (float& value : x)
            value = random.normal() + 1.0F;
        if (M > 2) x[2 * K + 3] = std::nanf("");
        for (const TestTier tier : test_tiers()) {
            std::vector<int8_t> cube(2 * M_total * K_padded);
            int8_t* const second = cube.data() + M_total * K_padded;
            std::vector<float> scales(M);
            std::vector<float> residual_scales(M);
            std::vector<float> sums(M, 10.0F);
            quantise_rows_int8({x.data(), K, M, K, K_padded, M_total, m0, cube.data()}, scales.data(), tier,
                               sums.data());
            quantise_residuals_int8({x.data(), K, M, K, K_padded, M_total, m0, second}, scales.data(),
                                    residual_scales.data(), tier, sums.data());
            for (size_t m = 0; m < M; ++m) {
                float expected = 10.0F;
                for (const auto& [plane, scale] : {std::pair<const int8_t*, float>{cube.data(), scales[m]},
                                                   {second, residual_scales[m]}}) {
                    int32_t sum = 0;
                    for (size_t k = 0; k < K_padded; ++k)
                        sum += plane[a_index_native(m0 + m, k, M_total, DType::kInt8)];
                    expected += scale * static_cast<float>(sum);
                }
                EXPECT_TRUE(test::same_float(sums[m], expected)) << kernel_tier_name(tier) << " row " << m;
            }
        }
    }
}

}  // namespace
}  // namespace rknpu2
