// SPDX-License-Identifier: MIT
#include "kernels/attention.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/kernel_cases.hpp"
#include "kernels/lanes/generic.hpp"
#include "matrix/float16.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

using test::Edge;
using test::GuardedBuffer;
using test::Random;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr uint16_t kHidden = 0xFC00;
constexpr uint16_t kOne = 0x7400;  // 2^14

// What the kernel reads and writes, flush against guard pages. `m0` and `M_total` leave rows of others around.
struct Block {
    size_t M, N, m0, M_total;
    GuardedBuffer<float> scores, factors, slopes, maxima, sums;
    std::vector<GuardedBuffer<uint16_t>> masks;
    std::vector<const uint16_t*> mask_rows;
    GuardedBuffer<uint16_t> low, high;
    float softcap = 0.0F;
    size_t plain = 0;

    Block(size_t rows, size_t positions, Edge edge = Edge::kEnd, size_t before = 0, size_t behind = 0,
          bool two_cubes = false)
        : M(rows),
          N(positions),
          m0(before),
          M_total(before + rows + behind),
          scores(round_up(N, size_t{4}) * M_total, edge, 0xFF),  // NaN, where no test puts a number
          factors(M, edge),
          slopes(M, edge),
          maxima(M, edge),
          sums(M, edge),
          mask_rows(M, nullptr),
          low(kValueBlock * M_total, edge),
          high(two_cubes || N > kValueBlock ? kValueBlock * M_total : 0, edge) {
        std::fill(factors.begin(), factors.end(), 1.0F);
        std::fill(slopes.begin(), slopes.end(), 1.0F);
    }

    float& score(size_t m, size_t n) { return scores[c_index_native(m0 + m, n, M_total, DType::kFloat32)]; }
    // Gives row m a mask of zeros.
    uint16_t* mask(size_t m) {
        masks.emplace_back(N, Edge::kEnd, uint8_t{0});
        mask_rows[m] = masks.back().data();
        return masks.back().data();
    }
    uint16_t weight(size_t m, size_t n) {
        return (n < kValueBlock ? low
                                : high)[a_index_native(m0 + m, n % kValueBlock, M_total, DType::kFloat16)];
    }
    ScoresToWeights rows() {
        return {scores.data(),
                M_total,
                m0,
                M,
                N,
                factors.data(),
                softcap,
                masks.empty() ? nullptr : mask_rows.data(),
                slopes.data(),
                {low.data(), high.size() > 0 ? high.data() : nullptr},
                maxima.data(),
                sums.data(),
                plain};
    }
    void weigh(TestTier tier = test_tiers().back()) {
        for (GuardedBuffer<uint16_t>* cube : {&low, &high})
            cube->fill(0xA5);
        weigh_scores(rows(), tier);
    }
    // All that it writes.
    struct Result {
        std::vector<uint16_t> weights;
        std::vector<float> floats;

        bool operator==(const Result& other) const {
            return weights == other.weights && test::same_floats(floats, other.floats);
        }
    };
    Result result(TestTier tier) {
        weigh(tier);
        Result all{{low.begin(), low.end()}, {maxima.begin(), maxima.end()}};
        all.weights.insert(all.weights.end(), high.begin(), high.end());
        all.floats.insert(all.floats.end(), sums.begin(), sums.end());
        return all;
    }
};

// Windows, holes, ALiBi, all hidden, and nothing.
void fill_mask(Random& random, uint16_t* mask, size_t N) {
    const size_t kind = random.size(0, 4);
    const size_t first = random.size(0, N), last = random.size(first, N);
    for (size_t n = 0; n < N; ++n) {
        if (kind == 0 && (n < first || n >= last)) mask[n] = kHidden;
        if (kind == 1 && random.one_in(3)) mask[n] = kHidden;
        if (kind == 2) mask[n] = n > last ? kHidden : float_to_float16(-static_cast<float>(last - n));
        if (kind == 3) mask[n] = kHidden;
        if (kind == 4 && random.one_in(50)) mask[n] = static_cast<uint16_t>(random.bits());
    }
}

void fill(Random& random, Block& block) {
    const float size = random.one_in(4) ? 40.0F : random.one_in(8) ? 1e30F : 4.0F;
    const bool masks = random.one_in(2);
    if (random.one_in(2)) block.plain = random.size(0, block.N);
    if (random.one_in(3)) block.softcap = 20.0F * (1.1F + random.uniform());
    for (size_t m = 0; m < block.M; ++m) {
        std::vector<float> awkward(kAttentionBlock);
        test::fill_row(random, awkward.data(), kAttentionBlock);
        const bool odd = random.one_in(6);
        if (random.one_in(3)) block.factors[m] = odd ? random.normal() : 0.01F + std::fabs(random.normal());
        if (random.one_in(20)) block.factors[m] = 0.0F;
        block.slopes[m] = random.normal();
        for (size_t n = 0; n < block.N; ++n)
            block.score(m, n) = odd ? awkward[n] : size * random.normal();
        if (!masks || random.one_in(4)) continue;
        uint16_t* const mask = block.mask(m);
        fill_mask(random, mask + block.plain, block.N - block.plain);
        for (size_t n = 0; n < block.N; ++n)  // what must not be looked at
            if (mask[n] == kHidden && random.one_in(2)) block.score(m, n) = random.not_finite();
    }
}

TEST(WeighScores, EveryTierEqualsTheReference) {
    Random random;
    for (int round = 0; round < 300; ++round) {
        const size_t M = random.one_in(10) ? random.size(1, 256) : random.size(1, 20);
        const size_t N = random.one_in(3) ? 1024 - random.size(0, 20) : random.size(1, 1024);
        Block block(M, N, random.one_in(2) ? Edge::kEnd : Edge::kBegin, random.size(0, 7), random.size(0, 7),
                    random.one_in(3));
        fill(random, block);
        const Block::Result expected = block.result(TestTier::kReference);
        for (const TestTier tier : test_tiers())
            ASSERT_TRUE(block.result(tier) == expected)
                << kernel_tier_name(tier) << " M=" << M << " N=" << N << " m0=" << block.m0
                << " softcap=" << block.softcap << " masks=" << block.masks.size()
                << " plain=" << block.plain;
    }
}

// Against 2^x in double precision. The rounding to a half comes on top of the polynomial's error.
TEST(WeighScores, WeightsAndSumsAreThePowersOfTwo) {
    Random random;
    for (const size_t N : {1U, 7U, 512U, 513U, 1001U, 1024U}) {
        Block block(8, N);
        for (size_t m = 0; m < block.M; ++m)
            for (size_t n = 0; n < N; ++n)
                block.score(m, n) = (m % 2 == 0 ? 3.0F : 12.0F) * random.normal();
        block.weigh();
        for (size_t m = 0; m < block.M; ++m) {
            float largest = block.score(m, 0);
            for (size_t n = 0; n < N; ++n)
                largest = std::fmax(largest, block.score(m, n));
            ASSERT_EQ(block.maxima[m], largest);
            double sum = 0;
            for (size_t n = 0; n < N; ++n) {
                const float x = block.score(m, n) - largest;
                const double exact = x <= -25.5 ? 0.0 : std::exp2(static_cast<double>(x)) * 0x1p14;
                sum += exact;
                const uint16_t weight = block.weight(m, n);
                ASSERT_NEAR(float16_to_float(weight), exact, exact * (kExp2Error + 0x1p-11)) << x;
                ASSERT_TRUE(weight == 0 || weight >= 0x400) << "subnormal at x=" << x;
                ASSERT_TRUE(x != 0.0F || weight == kOne);
            }
            ASSERT_NEAR(block.sums[m], sum, sum * (kExp2Error + 1e-6));
            for (size_t n = N; n < round_up(N, kValueBlock); ++n)
                ASSERT_EQ(block.weight(m, n), 0);
        }
    }
}

// The bound holds at every argument, and is not twice what is true.
TEST(WeighScores, ExponentialStaysWithinItsBound) {
    double worst = 0;
    for (int i = 0; i <= 126 << 13; ++i) {
        const float x = static_cast<float>(i) * -0x1p-13F;
        const double exact = std::exp2(static_cast<double>(x));
        worst = std::fmax(worst, std::fabs(exp2_of(x) - exact) / exact);
    }
    EXPECT_LE(worst, kExp2Error);
    EXPECT_GE(worst, kExp2Error / 2);
    for (const float whole : {0.0F, -1.0F, -25.0F, -126.0F})
        EXPECT_EQ(exp2_of(whole), std::exp2(whole));
    for (const float low : {-126.5F, -1e30F, -kInfinity})
        EXPECT_EQ(exp2_of(low), 0.0F);
    EXPECT_TRUE(std::isnan(exp2_of(kNaN)));
}

TEST(WeighScores, WeightsAreTheExponentialsThatOthersGet) {
    Block block(1, 900);
    for (size_t n = 0; n < block.N; ++n)
        block.score(0, n) = static_cast<float>(n) * -0.03F;
    block.weigh();
    for (size_t n = 0; n < block.N; ++n) {
        const float x = block.score(0, n);
        const float weight = x <= -25.5F ? 0.0F : exp2_of(x) * kWeightUnit;
        ASSERT_NEAR(float16_to_float(block.weight(0, n)), weight, weight * 0x1p-11F) << x;
    }
}

// A row of one position has the capped score for its maximum.
TEST(WeighScores, SoftcapStaysWithinItsBound) {
    for (const float c : {0.001F, 20.0F, 72.13F}) {
        Block block(8001, 1);
        block.softcap = c;
        for (size_t m = 0; m < block.M; ++m)
            block.score(m, 0) = (static_cast<float>(m) - 4000.0F) * 0.003F * c;
        block.weigh();
        double worst = 0;
        for (size_t m = 0; m < block.M; ++m) {
            const double exact = std::tanh(static_cast<double>(block.score(m, 0)) / c);
            worst = std::fmax(worst, std::fabs(block.maxima[m] / static_cast<double>(c) - exact));
        }
        EXPECT_LE(worst, kSoftcapError) << c;
        EXPECT_GE(worst, kSoftcapError / 10) << c;
    }
}

TEST(WeighScores, SoftcapTakesWhatIsTooLargeAndKeepsZero) {
    Block block(3, 1);
    block.softcap = 30.0F;
    block.score(0, 0) = 0.0F;
    block.score(1, 0) = kInfinity;
    block.score(2, 0) = -3e38F;
    block.factors[2] = 100.0F;
    block.weigh();
    EXPECT_EQ(block.maxima[0], 0.0F);
    EXPECT_EQ(block.maxima[1], 30.0F);
    EXPECT_EQ(block.maxima[2], -30.0F);
}

// Also of what a plain row is not told by: rows of one group, of which some have a mask.
TEST(WeighScores, NoMaskIsAMaskOfZeros) {
    Random random;
    for (const TestTier tier : test_tiers()) {
        Block block(9, 1019);
        for (size_t m = 0; m < block.M; ++m) {
            block.factors[m] = std::fabs(random.normal());
            for (size_t n = 0; n < block.N; ++n)
                block.score(m, n) = n % 10 == 3 ? -0.0F : 9.0F * random.normal();
        }
        const Block::Result plain = block.result(tier);
        block.mask(2);
        EXPECT_TRUE(block.result(tier) == plain);
        for (size_t m = 0; m < block.M; ++m)
            block.mask(m);
        EXPECT_TRUE(block.result(tier) == plain);
    }
}

TEST(WeighScores, MasksHideAndAdd) {
    Block block(3, 4);
    for (size_t m = 0; m < 3; ++m)
        for (size_t n = 0; n < 4; ++n)
            block.score(m, n) = static_cast<float>(n);
    uint16_t* const hides = block.mask(0);
    hides[3] = kHidden;
    block.score(0, 3) = kNaN;
    uint16_t* const adds = block.mask(1);
    adds[0] = float_to_float16(-8.0F);
    block.slopes[1] = -0.5F;
    uint16_t* const nothing = block.mask(2);
    std::fill(nothing, nothing + 4, kHidden);
    block.weigh();
    EXPECT_EQ(block.maxima[0], 2.0F);
    EXPECT_EQ(block.weight(0, 2), kOne);
    EXPECT_EQ(block.weight(0, 3), 0);
    EXPECT_EQ(block.maxima[1], 4.0F);  // 0 - 0.5 * -8
    EXPECT_EQ(block.weight(1, 0), kOne);
    EXPECT_EQ(block.maxima[2], -kInfinity);
    EXPECT_EQ(block.sums[2], 0.0F);
    for (size_t n = 0; n < 4; ++n)
        EXPECT_EQ(block.weight(2, n), 0);
}

TEST(WeighScores, HugeScoresAreNumbersLikeOthers) {
    constexpr float kRows[4][3] = {
        {1e30F, -1e30F, 1e30F}, {-1e30F, -3e38F, -2e30F}, {3e38F, 0, -3e38F}, {0, -1e9F, -26}};
    for (const TestTier tier : test_tiers()) {
        for (const size_t N : {3U, 16U, 19U}) {
            Block block(4, N);
            for (size_t m = 0; m < 4; ++m)
                for (size_t n = 0; n < N; ++n)
                    block.score(m, n) = kRows[m][n < 3 ? n : 1];
            block.weigh(tier);
            for (size_t m = 0; m < 4; ++m) {
                EXPECT_EQ(block.maxima[m], kRows[m][0]);
                for (size_t n = 0; n < N; ++n)
                    EXPECT_EQ(block.weight(m, n), n == 0 || (n == 2 && m == 0) ? kOne : 0);
                EXPECT_EQ(block.sums[m], m == 0 ? 2 * kWeightUnit : kWeightUnit);
            }
        }
    }
}

// They are not left to the reference, as a row is that gets the sum NaN.
TEST(WeighScores, VectorsDoRowsWithWhatIsHidden) {
    Block block(8, 45);
    for (size_t m = 0; m < block.M; ++m) {
        uint16_t* const mask = block.mask(m);
        block.slopes[m] = m % 2 == 0 ? 1.0F : -1.0F;
        for (size_t n = 0; n < block.N; ++n) {
            const bool hidden = m < 2 || n % 3 == m % 3;
            mask[n] = hidden ? kHidden : 0;
            block.score(m, n) = !hidden ? 1.0F : n % 2 == 0 ? kNaN : kInfinity;
        }
    }
    for (const KernelTier tier : available_tiers()) {
        of_tier(tier, generic::weigh_scores, avx2::weigh_scores)(block.rows());
        for (size_t m = 0; m < block.M; ++m)
            EXPECT_EQ(block.sums[m], m < 2 ? 0.0F : 30 * kWeightUnit) << m;
    }
}

// Overflow of native * factor included. The neighbours get what they would get without.
TEST(WeighScores, ARowThatIsNotFiniteSaysSoAndNoOtherNotices) {
    Random random;
    for (const TestTier tier : test_tiers()) {
        for (const float bad : {kNaN, kInfinity, 3e38F}) {
            Block block(6, 600);
            for (size_t m = 0; m < block.M; ++m)
                for (size_t n = 0; n < block.N; ++n)
                    block.score(m, n) = random.normal();
            Block::Result expected = block.result(tier);
            block.score(2, 599) = bad;
            block.factors[2] = 2.0F;
            const Block::Result found = block.result(tier);
            for (size_t n = 0; n < 1024; ++n) {
                const size_t at = a_index_native(2, n % kValueBlock, 6, DType::kFloat16);
                expected.weights[n / kValueBlock * kValueBlock * 6 + at] = 0;
            }
            expected.floats[2] = std::isnan(bad) ? kNaN : kInfinity;
            expected.floats[6 + 2] = kNaN;
            EXPECT_TRUE(found == expected) << kernel_tier_name(tier) << " " << bad;
        }
    }
}

TEST(WeighScores, PartsMakeTheWhole) {
    Random random;
    Block block(23, 700, Edge::kEnd, 3, 2);
    fill(random, block);
    block.mask(4)[0] = kHidden;
    const Block::Result whole = block.result(test_tiers().back());
    for (GuardedBuffer<uint16_t>* cube : {&block.low, &block.high})
        cube->fill(0xA5);
    for (const auto& [m, count] : {std::pair<size_t, size_t>{11, 12}, {0, 5}, {5, 6}})
        weigh_scores(block.rows().part(m, count));
    EXPECT_TRUE(std::equal(block.low.begin(), block.low.end(), whole.weights.begin()));
    EXPECT_TRUE(std::equal(block.high.begin(), block.high.end(),
                           whole.weights.begin() + static_cast<ptrdiff_t>(block.low.size())));
    EXPECT_TRUE(std::equal(block.maxima.begin(), block.maxima.end(), whole.floats.begin(), test::same_float));
    EXPECT_TRUE(
        std::equal(block.sums.begin(), block.sums.end(), whole.floats.begin() + 23, test::same_float));
}

}  // namespace
}  // namespace rknpu2
