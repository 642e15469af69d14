// SPDX-License-Identifier: MIT
#include "kernels/pack.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "kernels/kernel_cases.hpp"
#include "kernels/quantise.hpp"
#include "kernels/scale.hpp"
#include "matrix/float16.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

using test::Edge;
using test::GuardedBuffer;
using test::Random;
using test::same_bits;

// A random call: n_count source rows, of which the range [k0, k0 + k_count) becomes kernels n0 .. of a block.
struct Case {
    size_t n0, n_count, N_padded, k0, k_count, K, stride, K_padded;

    Case(Random& random, size_t group, size_t longest = 300) {
        n0 = random.one_in(2) ? 0 : random.size(0, 70);
        n_count = random.one_in(4) ? 1 : random.size(1, 70);
        N_padded = round_up(n0 + n_count, group) + group * random.size(0, 1);
        k_count = random.one_in(20) ? 1 : random.size(1, longest);
        k0 = random.one_in(2) ? 0 : random.size(0, 50);
        K = k0 + k_count + (random.one_in(2) ? 0 : random.size(0, 40));
        stride = K + random.size(0, 5);
        K_padded = round_up(k_count, kTileK) + kTileK * (random.one_in(4) ? random.size(1, 20) : 0);
    }
    std::string text() const {
        return "n0=" + std::to_string(n0) + " n_count=" + std::to_string(n_count) +
               " N_padded=" + std::to_string(N_padded) + " k0=" + std::to_string(k0) +
               " k_count=" + std::to_string(k_count) + " K_padded=" + std::to_string(K_padded);
    }
};

template <typename Element>
void run(const float* rows, const Case& c, Element* native, const float* scales, TestTier tier) {
    pack_rows(RowsToBlock<Element>{rows, c.stride, c.n0, c.n_count, c.k0, c.k_count, c.K_padded, c.N_padded,
                                   native},
              scales, tier);
}
template <typename Element>
float channel_scale(const float* row, size_t K) {
    const float absmax = row_absmax(row, K);
    return sizeof(Element) == 1 ? int8_scale(absmax) : fp16_scale(absmax);
}

// Scales of the full rows; now and then one that does not fit the row, as a careless caller may pass.
template <typename Element>
GuardedBuffer<float> scales_for(Random& random, const float* rows, const Case& c) {
    GuardedBuffer<float> scales(c.n_count);
    for (size_t i = 0; i < c.n_count; ++i) {
        scales[i] = random.one_in(8) ? std::fabs(random.any_finite())
                                     : channel_scale<Element>(rows + i * c.stride, c.K);
    }
    return scales;
}

template <typename Element>
void expect_tiers_agree(size_t group) {
    Random random;
    for (int i = 0; i < 300; ++i) {
        const Case c(random, group, i % 10 == 0 ? 2500 : 300);
        SCOPED_TRACE(c.text());
        const auto rows = test::random_rows(random, c.n_count, c.K, c.stride);
        const auto scales = scales_for<Element>(random, rows.data(), c);
        const GuardedBuffer<Element> expected(c.K_padded * c.N_padded);
        run(rows.data(), c, expected.data(), scales.data(), TestTier::kReference);
        for (const TestTier tier : test_tiers()) {
            for (const Edge edge : {Edge::kEnd, Edge::kBegin}) {
                const GuardedBuffer<Element> native(c.K_padded * c.N_padded, edge);
                run(rows.data(), c, native.data(), scales.data(), tier);
                ASSERT_TRUE(same_bits(native, expected)) << kernel_tier_name(tier);
            }
        }
    }
}

TEST(Pack, TiersAgreeInt8) {
    expect_tiers_agree<int8_t>(kernel_group(DType::kInt8));
}
TEST(Pack, TiersAgreeFloat16) {
    expect_tiers_agree<uint16_t>(kernel_group(DType::kFloat16));
}

// With two different backgrounds: every byte of the own kernels is written, with zeros beyond k_count, and no
// byte of other kernels is touched. zero_kernels clears exactly its range.
template <typename Element>
void expect_own_kernels_written(DType type) {
    Random random;
    for (int i = 0; i < 60; ++i) {
        const Case c(random, kernel_group(type));
        SCOPED_TRACE(c.text());
        const auto rows = test::random_rows(random, c.n_count, c.K, c.stride);
        const auto scales = scales_for<Element>(random, rows.data(), c);
        const GuardedBuffer<Element> one(c.K_padded * c.N_padded, Edge::kEnd, 0x11);
        const GuardedBuffer<Element> two(c.K_padded * c.N_padded, Edge::kEnd, 0xEE);
        const GuardedBuffer<Element> background_one(1, Edge::kEnd, 0x11);
        const GuardedBuffer<Element> background_two(1, Edge::kEnd, 0xEE);
        run(rows.data(), c, one.data(), scales.data(), test_tiers().back());
        run(rows.data(), c, two.data(), scales.data(), test_tiers().back());
        for (size_t n = 0; n < c.N_padded; ++n) {
            const bool own = n >= c.n0 && n < c.n0 + c.n_count;
            for (size_t k = 0; k < c.K_padded; ++k) {
                const size_t at = b_index_native(k, n, c.K_padded, c.N_padded, type);
                if (own) {
                    ASSERT_EQ(one[at], two[at]) << n << "," << k;
                    if (k >= c.k_count) {
                        ASSERT_EQ(one[at], Element{0}) << n << "," << k;
                    }
                } else {
                    ASSERT_EQ(one[at], background_one[0]) << n << "," << k;
                    ASSERT_EQ(two[at], background_two[0]) << n << "," << k;
                }
            }
        }
        zero_kernels(c.n0, c.n0 + c.n_count, c.K_padded, c.N_padded, one.data());
        for (size_t n = 0; n < c.N_padded; ++n) {
            const bool own = n >= c.n0 && n < c.n0 + c.n_count;
            for (size_t k = 0; k < c.K_padded; ++k) {
                ASSERT_EQ(one[b_index_native(k, n, c.K_padded, c.N_padded, type)],
                          own ? Element{0} : background_one[0]);
            }
        }
    }
}

TEST(Pack, WritesItsOwnKernelsWholeAndNothingElse) {
    expect_own_kernels_written<int8_t>(DType::kInt8);
    expect_own_kernels_written<uint16_t>(DType::kFloat16);
}

// Values that the type holds come back as they went in.
TEST(Pack, UnpackIsTheInverseOnQuantisedValues) {
    Random random;
    for (int i = 0; i < 100; ++i) {
        Case c(random, kernel_group(DType::kInt8));
        SCOPED_TRACE(c.text());
        GuardedBuffer<float> rows((c.n_count - 1) * c.stride + c.K);
        std::vector<int8_t> integers(rows.size());
        for (size_t j = 0; j < rows.size(); ++j) {
            integers[j] = static_cast<int8_t>(static_cast<int>(random.size(0, 254)) - 127);
            rows[j] = 0.25F * static_cast<float>(integers[j]);
        }
        const std::vector<float> scales(c.n_count, 0.25F);
        const GuardedBuffer<int8_t> native(c.K_padded * c.N_padded);
        run(rows.data(), c, native.data(), scales.data(), test_tiers().back());
        const GuardedBuffer<int8_t> back(c.n_count * c.k_count);
        test::unpack_kernels(native.data(), c.K_padded, c.N_padded, c.n0, c.n_count, c.k_count, back.data());
        for (size_t n = 0; n < c.n_count; ++n) {
            for (size_t k = 0; k < c.k_count; ++k)
                ASSERT_EQ(back[n * c.k_count + k], integers[n * c.stride + c.k0 + k]) << n << "," << k;
        }

        const std::vector<float> ones(c.n_count, 1.0F);
        for (float& value : rows)
            value = float16_to_float(static_cast<uint16_t>(random.bits() & 0xBBFFU));
        const GuardedBuffer<uint16_t> native_fp16(c.K_padded * c.N_padded);
        run(rows.data(), c, native_fp16.data(), ones.data(), test_tiers().back());
        const GuardedBuffer<uint16_t> halves(c.n_count * c.k_count);
        test::unpack_kernels(native_fp16.data(), c.K_padded, c.N_padded, c.n0, c.n_count, c.k_count,
                             halves.data());
        for (size_t n = 0; n < c.n_count; ++n) {
            for (size_t k = 0; k < c.k_count; ++k) {
                ASSERT_TRUE(test::same_float(float16_to_float(halves[n * c.k_count + k]),
                                             rows[n * c.stride + c.k0 + k]));
            }
        }
    }
}

// Any float under scale 1: what fits is rounded as matrix/float16.hpp says, what does not saturates.
TEST(Pack, Float16SaturatesAndNeverStoresAnInfinity) {
    Random random;
    constexpr size_t kK = 8192;
    std::vector<float> row(kK);
    const float one = 1.0F;
    for (int round = 0; round < 20; ++round) {
        for (float& value : row)
            value = random.one_in(50) ? random.not_finite() : random.any_finite();
        for (const TestTier tier : test_tiers()) {
            const GuardedBuffer<uint16_t> native(kK * 16);
            pack_rows(RowsToBlock<uint16_t>{row.data(), kK, 0, 1, 0, kK, kK, 16, native.data()}, &one, tier);
            for (size_t k = 0; k < kK; ++k) {
                const uint16_t half = native[b_index_native(k, 0, kK, 16, DType::kFloat16)];
                const bool fits = std::fabs(row[k]) <= kFloat16Max;
                const auto expected = fits ? float_to_float16(row[k])
                                           : static_cast<uint16_t>(std::signbit(row[k]) ? 0xFBFF : 0x7BFF);
                ASSERT_EQ(half, expected) << row[k] << " " << kernel_tier_name(tier);
            }
        }
    }
}

TEST(Pack, RowsWithoutAUsableScaleAreZeros) {
    Random random;
    constexpr size_t kK = 45;
    const auto rows = test::random_rows(random, 3, kK, kK);
    const float scales[] = {0.0F, std::numeric_limits<float>::quiet_NaN(), -1.0F};
    for (const TestTier tier : test_tiers()) {
        const GuardedBuffer<int8_t> native(64 * 32);
        pack_rows(RowsToBlock<int8_t>{rows.data(), kK, 0, 3, 0, kK, 64, 32, native.data()}, scales, tier);
        const GuardedBuffer<uint16_t> native_fp16(64 * 16);
        pack_rows(RowsToBlock<uint16_t>{rows.data(), kK, 0, 3, 0, kK, 64, 16, native_fp16.data()}, scales,
                  tier);
        for (size_t n = 0; n < 3; ++n) {
            for (size_t k = 0; k < 64; ++k) {
                ASSERT_EQ(native[b_index_native(k, n, 64, 32, DType::kInt8)], 0);
                ASSERT_EQ(native_fp16[b_index_native(k, n, 64, 16, DType::kFloat16)], 0);
            }
        }
    }
}

// K over one segment: blocks packed from ranges of the row, one after the other, are what the layout
// describes.
TEST(Pack, SegmentsMakeUpALongK) {
    Random random;
    const size_t K = kSegmentK + 50;
    const size_t K_padded = round_up(K, kTileK);
    constexpr size_t kN = 40;
    constexpr size_t kNPadded = 64;
    const auto rows = test::random_rows(random, kN, K, K);
    std::vector<float> scales(kN);
    for (size_t n = 0; n < kN; ++n)
        scales[n] = channel_scale<int8_t>(rows.data() + n * K, K);
    const GuardedBuffer<int8_t> native(K_padded * kNPadded);
    for (size_t k0 = 0; k0 < K; k0 += kSegmentK) {
        const size_t depth = std::min(kSegmentK, K_padded - k0);
        int8_t* block = native.data() + k0 * kNPadded;
        pack_rows(
            RowsToBlock<int8_t>{rows.data(), K, 0, kN, k0, std::min(depth, K - k0), depth, kNPadded, block},
            scales.data());
        zero_kernels(kN, kNPadded, depth, kNPadded, block);
    }
    for (size_t n = 0; n < kNPadded; ++n) {
        for (size_t k = 0; k < K_padded; ++k) {
            int expected = 0;
            if (n < kN && k < K) {
                const float factor = storing_factor(scales[n]);
                if (factor != 0) expected = static_cast<int>(std::nearbyint(rows[n * K + k] * factor));
            }
            ASSERT_EQ(native[b_index_native(k, n, K_padded, kNPadded, DType::kInt8)], expected)
                << n << "," << k;
        }
    }
}

TEST(Pack, ThreadsShareABlock) {
    Random random;
    constexpr size_t kN = 75;
    constexpr size_t kNPadded = 96;
    constexpr size_t kK = 200;
    constexpr size_t kKPadded = 224;
    const auto rows = test::random_rows(random, kN, kK, kK);
    std::vector<float> scales(kN);
    for (size_t n = 0; n < kN; ++n)
        scales[n] = channel_scale<int8_t>(rows.data() + n * kK, kK);
    const GuardedBuffer<int8_t> expected(kKPadded * kNPadded);
    const GuardedBuffer<int8_t> native(kKPadded * kNPadded);
    pack_rows(RowsToBlock<int8_t>{rows.data(), kK, 0, kN, 0, kK, kKPadded, kNPadded, expected.data()},
              scales.data());
    std::vector<std::thread> threads;
    for (size_t begin = 0; begin < kN; begin += 7) {
        threads.emplace_back([&, begin] {
            pack_rows(
                RowsToBlock<int8_t>{rows.data() + begin * kK, kK, begin, std::min<size_t>(7, kN - begin), 0,
                                    kK, kKPadded, kNPadded, native.data()},
                scales.data() + begin);
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_TRUE(same_bits(native, expected));
}

TEST(Pack, RoundingErrorsAreThoseOfTheStoredWeights) {
    Random random;
    for (const size_t K : {1U, 15U, 31U, 576U, 1000U, 8192U}) {
        std::vector<float> row(K);
        std::vector<float> values(K);
        for (size_t k = 0; k < K; ++k) {
            row[k] = random.normal();
            values[k] = random.normal();
        }
        const float scale = channel_scale<int8_t>(row.data(), K);
        double expected = 0;
        for (size_t k = 0; k < K; ++k)
            expected += (row[k] - std::nearbyint(static_cast<double>(row[k]) / scale) * scale) * values[k];
        const double reference =
            rounding_error_int8(row.data(), K, scale, values.data(), TestTier::kReference);
        EXPECT_NEAR(reference, expected, 0.02 * scale * std::sqrt(static_cast<double>(K)) + 1e-12) << K;
        for (const TestTier tier : test_tiers())
            EXPECT_EQ(rounding_error_int8(row.data(), K, scale, values.data(), tier), reference) << K;
        EXPECT_EQ(rounding_error_int8(row.data(), K, 0.0F, values.data()), 0.0);
    }
}

}  // namespace
}  // namespace rknpu2
