// SPDX-License-Identifier: MIT
// Digits, codes and what is put together of their sums, in every tier against loops that prove themselves; and
// that no sum leaves 16 bits where pieces_that_fit() says so.
#include "kernels/digits.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "kernels/kernel_cases.hpp"
#include "kernels/scale.hpp"

namespace rknpu2 {
namespace {

using test::Edge;
using test::GuardedBuffer;
using test::Random;

class Digits : public ::testing::Test {
  protected:
    Random random_{2111};
};

TEST_F(Digits, EveryTierIsTheReference) {
    for (int i = 0; i < 300; ++i) {
        const size_t M = random_.size(1, 9);
        const size_t K = random_.size(1, 1200);
        const size_t K_padded = round_up(K, kTileK) + kTileK * random_.size(0, 2);
        const size_t pieces = size_t{1} << random_.size(0, 4);
        const size_t plane_rows = M + random_.size(0, 5);
        const size_t m0 = random_.size(0, plane_rows - M);
        const size_t M_total = 2 * pieces * plane_rows + random_.size(0, 3);
        const size_t stride = K + random_.size(0, 4);
        const GuardedBuffer<float> x = test::random_rows(random_, M, K, stride);
        SCOPED_TRACE(::testing::Message() << M << " rows of " << K << ", " << pieces << " pieces");
        std::vector<std::byte> first;
        std::vector<float> first_scales, first_sums;
        for (const TestTier tier : test_tiers()) {
            GuardedBuffer<std::byte> cube(M_total * K_padded / 2, Edge::kEnd, 0xA5);
            std::vector<float> scales(M), sums(M, 0.5F);
            quantise_rows_digits(
                {x.data(), stride, M, K, K_padded, M_total, m0, plane_rows, pieces, cube.data()},
                scales.data(), tier, sums.data());
            const std::vector<std::byte> bytes(cube.data(), cube.data() + M_total * K_padded / 2);
            if (tier == TestTier::kReference) {
                first = bytes, first_scales = scales, first_sums = sums;
            }
            EXPECT_TRUE(bytes == first) << kernel_tier_name(tier);
            EXPECT_TRUE(test::same_floats(scales, first_scales)) << kernel_tier_name(tier);
            EXPECT_TRUE(test::same_floats(sums, first_sums)) << kernel_tier_name(tier);
        }
    }
}

TEST_F(Digits, CodesOfWeightsLieAsTheLayoutSays) {
    for (int i = 0; i < 100; ++i) {
        const size_t K = random_.size(1, 700);
        const size_t K_padded = round_up(K, kTileK) + kTileK * random_.size(0, 2);
        const size_t n0 = random_.size(0, 70);
        const size_t count = random_.size(1, 70);
        const size_t bytes = round_up(n0 + count, size_t{64}) * K_padded / 2;
        std::vector<int8_t> codes(count * K);
        for (int8_t& code : codes)
            code = static_cast<int8_t>(static_cast<int>(random_.size(0, 15)) - 8);
        std::vector<std::byte> first;
        for (const TestTier tier : test_tiers()) {
            GuardedBuffer<std::byte> block(bytes, Edge::kEnd, 0x5A);
            pack_codes({codes.data(), K, n0, count, K, K_padded, block.data()}, tier);
            const std::vector<std::byte> packed(block.data(), block.data() + bytes);
            if (tier == TestTier::kReference) first = packed;
            EXPECT_TRUE(packed == first) << kernel_tier_name(tier) << ", K " << K;
        }
        GuardedBuffer<std::byte> block(bytes, Edge::kEnd, 0x5A);
        zero_codes(0, round_up(n0 + count, size_t{64}), K_padded, block.data());
        EXPECT_TRUE(
            std::all_of(block.data(), block.data() + bytes, [](std::byte b) { return b == std::byte{0}; }));
    }
}

TEST_F(Digits, SumsArePutTogetherInEveryTier) {
    for (int i = 0; i < 200; ++i) {
        const size_t M = random_.size(1, 20);
        const size_t N = random_.size(1, 200);
        const size_t pieces = size_t{1} << random_.size(0, 3);
        const size_t plane_rows = M + random_.size(0, 4);
        const size_t m0 = random_.size(0, plane_rows - M);
        const size_t M_total = 2 * pieces * plane_rows + random_.size(0, 3);
        const size_t columns = round_up(N, size_t{8});
        GuardedBuffer<int16_t> native(columns * M_total, Edge::kEnd);
        for (size_t k = 0; k < columns * M_total; ++k)
            native.data()[k] = static_cast<int16_t>(random_.bits());
        std::vector<int32_t> first;
        for (const TestTier tier : test_tiers()) {
            std::vector<int32_t> joined(columns * M, -1);
            join_digits({native.data(), M_total, m0, M, N, plane_rows, pieces}, joined.data(), tier);
            if (tier == TestTier::kReference) first = joined;
            EXPECT_TRUE(joined == first) << kernel_tier_name(tier);
        }
    }
}

// The largest magnitude that a sum of the pieces can have, over all digits of -8 .. 7.
int largest_sum(const std::vector<int8_t>& row, size_t K_padded, size_t pieces) {
    int largest = 0;
    for (size_t piece = 0; piece < pieces; ++piece) {
        int up = 0, down = 0;
        const size_t end = std::min(row.size(), piece_begin(K_padded / 32, pieces, piece + 1) * 32);
        for (size_t k = piece_begin(K_padded / 32, pieces, piece) * 32; k < end; ++k) {
            up += std::max(7 * row[k], -8 * row[k]);
            down += std::max(-7 * row[k], 8 * row[k]);
        }
        // -32768 is a sum of 16 bits, too.
        largest = std::max({largest, up, down - 1});
    }
    return largest;
}

TEST_F(Digits, FewestPiecesThatNoDigitsMakeOverflow) {
    bool more_than_one = false;
    bool one = false;
    for (int i = 0; i < 300; ++i) {
        const size_t K = random_.size(1, 8192);
        const size_t K_padded = round_up(K, kTileK);
        const size_t least = size_t{1} << random_.size(0, 1);
        const int widest = static_cast<int>(random_.size(1, 8));  // of the codes
        const bool aligned = random_.one_in(4);
        std::vector<int8_t> rows(3 * K);
        for (int8_t& code : rows) {
            const int value = aligned ? -widest : static_cast<int>(random_.size(0, 2 * widest)) - widest;
            code = static_cast<int8_t>(std::min(value, 7));
        }
        const size_t pieces = pieces_that_fit({rows.data(), K, 0, 3, K, K_padded, nullptr}, least);
        int with = 0, with_half = 0;
        for (size_t n = 0; n < 3; ++n) {
            const std::vector<int8_t> row(rows.begin() + static_cast<ptrdiff_t>(n * K),
                                          rows.begin() + static_cast<ptrdiff_t>((n + 1) * K));
            with = std::max(with, largest_sum(row, K_padded, pieces));
            with_half = std::max(with_half, largest_sum(row, K_padded, pieces / 2));
        }
        EXPECT_LE(with, 32767) << K;
        if (pieces > least) {
            EXPECT_GT(with_half, 32767) << K << ", " << pieces;
        }
        (pieces > 1 ? more_than_one : one) = true;
    }
    EXPECT_TRUE(more_than_one && one);
}

}  // namespace
}  // namespace rknpu2
