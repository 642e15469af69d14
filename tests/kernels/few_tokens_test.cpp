// SPDX-License-Identifier: MIT
#include "kernels/few_tokens.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/attention.hpp"
#include "kernels/kernel_cases.hpp"
#include "matrix/float16.hpp"

namespace rknpu2 {
namespace {

using test::Edge;
using test::GuardedBuffer;
using test::Random;
using test::same_floats;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Rows of a cache, each flush against a guard page. Ordinary numbers, or awkward ones.
struct Cache {
    std::vector<GuardedBuffer<std::byte>> rows;
    std::vector<const std::byte*> pointers;
    size_t width;
    bool halves;

    Cache(Random& random, size_t count, size_t elements, bool of_halves, bool awkward)
        : width(elements), halves(of_halves) {
        for (size_t n = 0; n < count; ++n) {
            std::vector<float> floats(width);
            for (float& x : floats)
                x = random.normal();
            if (awkward) test::fill_row(random, floats.data(), width);
            rows.emplace_back(width * (halves ? sizeof(uint16_t) : sizeof(float)));
            for (size_t k = 0; k < width; ++k) {
                if (!halves) reinterpret_cast<float*>(rows[n].data())[k] = floats[k];
                if (halves) reinterpret_cast<uint16_t*>(rows[n].data())[k] = float_to_float16(floats[k]);
            }
            pointers.push_back(rows[n].data());
        }
    }
    FewPositions positions() const { return {pointers.data(), pointers.size(), width, halves}; }
};

size_t width_of(Random& random) {
    return kFewStep * (random.one_in(2) ? random.size(1, 4) * 4 : random.size(1, 72));
}

TEST(ScoreFew, EveryTierEqualsTheReference) {
    Random random;
    for (int round = 0; round < 150; ++round) {
        const size_t rows = random.one_in(8) ? random.size(1, 70) : random.size(1, 9);
        const bool awkward = random.one_in(4);
        const Cache keys(random, kFewStep * random.size(1, 4), width_of(random), random.one_in(2), awkward);
        const size_t query_stride = keys.width + random.size(0, 3);
        const size_t stride = keys.pointers.size() + random.size(0, 9);
        GuardedBuffer<float> queries((rows - 1) * query_stride + keys.width);
        for (float& x : queries)
            x = awkward && random.one_in(1000) ? random.any_finite() : random.normal();
        const auto scores = [&](TestTier tier) {
            GuardedBuffer<float> out((rows - 1) * stride + keys.pointers.size());
            score_few({queries.data(), query_stride, rows, keys.positions(), out.data(), stride}, tier);
            return out;
        };
        const GuardedBuffer<float> expected = scores(TestTier::kReference);
        for (const TestTier tier : test_tiers())
            ASSERT_TRUE(same_floats(scores(tier), expected))
                << kernel_tier_name(tier) << " rows=" << rows << " width=" << keys.width;
    }
}

TEST(AddFew, EveryTierEqualsTheReference) {
    Random random;
    for (int round = 0; round < 150; ++round) {
        const size_t rows = random.one_in(8) ? random.size(1, 70) : random.size(1, 9);
        const Cache values(random, kFewStep * random.size(1, 4), width_of(random), random.one_in(2),
                           random.one_in(4));
        const size_t weight_stride = values.pointers.size() + random.size(0, 9);
        const size_t stride = values.width + random.size(0, 9);
        GuardedBuffer<float> weights((rows - 1) * weight_stride + values.pointers.size());
        for (float& x : weights)
            x = random.one_in(9) ? 0.0F : std::exp2(20 * random.uniform() - 20);
        std::vector<float> before((rows - 1) * stride + values.width);
        for (float& x : before)
            x = random.normal();
        const auto sums = [&](TestTier tier) {
            GuardedBuffer<float> out(before.size());
            std::copy(before.begin(), before.end(), out.begin());
            add_few({weights.data(), weight_stride, rows, values.positions(), out.data(), stride}, tier);
            return out;
        };
        const GuardedBuffer<float> expected = sums(TestTier::kReference);
        for (const TestTier tier : test_tiers())
            ASSERT_TRUE(same_floats(sums(tier), expected))
                << kernel_tier_name(tier) << " rows=" << rows << " width=" << values.width;
    }
}

// Scores of a block, and what is added to them.
struct Block {
    size_t rows, count, stride;
    std::vector<float> scores, slopes;
    std::vector<GuardedBuffer<uint16_t>> masks;
    std::vector<const uint16_t*> mask_rows;
    float factor = 0.2F, softcap = 0;

    Block(size_t M, size_t N, size_t row = 0)
        : rows(M),
          count(N),
          stride(std::max(N, row)),
          scores(rows * stride),
          slopes(rows, 1.0F),
          mask_rows(rows, nullptr) {}

    // Gives row m a mask of zeros.
    uint16_t* mask(size_t m) {
        masks.emplace_back(count, Edge::kEnd, uint8_t{0});
        mask_rows[m] = masks.back().data();
        return masks.back().data();
    }
    struct Result {
        std::vector<float> weights, maxima, sums;

        // The rest of a row whose sum is NaN may be anything.
        bool operator==(const Result& other) const {
            const size_t stride = weights.size() / sums.size();
            for (size_t m = 0; m < sums.size(); ++m) {
                if (!test::same_float(sums[m], other.sums[m])) return false;
                if (std::isnan(sums[m])) continue;
                const auto row = [&](const Result& of) {
                    return std::vector<float>(&of.weights[m * stride], &of.weights[m * stride] + stride);
                };
                if (!test::same_float(maxima[m], other.maxima[m]) || !same_floats(row(*this), row(other)))
                    return false;
            }
            return true;
        }
    };
    Result weigh(TestTier tier = test_tiers().back()) const {
        Result r{scores, std::vector<float>(rows), std::vector<float>(rows)};
        weigh_few({r.weights.data(), stride, rows, count, factor, softcap, mask_rows.data(), slopes.data(),
                   r.maxima.data(), r.sums.data()},
                  tier);
        return r;
    }
};

void fill(Random& random, Block& block) {
    if (random.one_in(3)) block.softcap = 20.0F * (1.1F + random.uniform());
    const float size = random.one_in(4) ? 400.0F : random.one_in(8) ? 1e30F : 4.0F;
    for (float& score : block.scores)
        score = size * random.normal();
    for (size_t m = 0; m < block.rows; ++m) {
        float* const row = block.scores.data() + m * block.stride;
        std::vector<float> awkward(kFewBlock);
        test::fill_row(random, awkward.data(), kFewBlock);
        if (random.one_in(6)) std::copy_n(awkward.begin(), block.count, row);
        block.slopes[m] = random.normal();
        if (random.one_in(3)) continue;
        uint16_t* const mask = block.mask(m);
        const size_t kind = random.size(0, 3);
        for (size_t n = 0; n < block.count; ++n) {
            if (kind == 0 || (kind == 1 && random.one_in(3))) mask[n] = kHiddenMask;
            if (kind == 2) mask[n] = float_to_float16(-random.uniform());
            if (kind == 3 && random.one_in(50)) mask[n] = static_cast<uint16_t>(random.bits());
            if (mask[n] == kHiddenMask && random.one_in(2)) row[n] = random.not_finite();
        }
    }
}

TEST(WeighFew, EveryTierEqualsTheReference) {
    Random random;
    for (int round = 0; round < 400; ++round) {
        Block block(random.one_in(8) ? random.size(1, 70) : random.size(1, 9), kFewStep * random.size(1, 16),
                    random.size(0, 140));
        fill(random, block);
        const Block::Result expected = block.weigh(TestTier::kReference);
        for (const TestTier tier : test_tiers())
            ASSERT_TRUE(block.weigh(tier) == expected)
                << kernel_tier_name(tier) << " rows=" << block.rows << " count=" << block.count
                << " softcap=" << block.softcap;
    }
}

TEST(WeighFew, NoMaskIsAMaskOfZerosAndRowsAreAlone) {
    Random random;
    for (const TestTier tier : test_tiers()) {
        Block block(5, kFewBlock);
        for (float& score : block.scores)
            score = random.one_in(10) ? -0.0F : 9.0F * random.normal();
        const Block::Result plain = block.weigh(tier);
        block.mask(2);
        EXPECT_TRUE(block.weigh(tier) == plain);
        block.scores[3 * kFewBlock + 5] = NAN;
        block.scores[4 * kFewBlock + 6] = kInfinity;
        Block::Result odd = block.weigh(tier);
        EXPECT_TRUE(std::isnan(odd.sums[3]) && std::isnan(odd.sums[4]));
        for (const size_t m : {3U, 4U})
            odd.sums[m] = plain.sums[m], odd.maxima[m] = plain.maxima[m];
        std::copy_n(plain.weights.begin() + 3 * kFewBlock, 2 * kFewBlock,
                    odd.weights.begin() + 3 * kFewBlock);
        EXPECT_TRUE(odd == plain);
    }
}

TEST(WidenFew, EveryHalfAndEveryWidth) {
    for (const TestTier tier : test_tiers()) {
        GuardedBuffer<float> floats(size_t{1} << 16);
        std::vector<uint16_t> halves(floats.size());
        for (size_t i = 0; i < halves.size(); ++i)
            halves[i] = static_cast<uint16_t>(i);
        widen_few(halves.data(), halves.size(), floats.data(), tier);
        for (size_t i = 0; i < halves.size(); ++i)
            ASSERT_TRUE(test::same_float(floats[i], float16_to_float(halves[i]))) << i;
        for (size_t width = 1; width <= 50; ++width) {
            GuardedBuffer<uint16_t> from(width);
            std::fill(from.begin(), from.end(), float_to_float16(2.0F));
            GuardedBuffer<float> to(round_up(width, kFewStep));
            widen_few(from.data(), width, to.data(), tier);
            for (size_t k = 0; k < to.size(); ++k)
                ASSERT_EQ(to[k], k < width ? 2.0F : 0.0F) << width << " " << k;
        }
    }
}

// The error of 2^x is that of a float's last bits.
TEST(FineExp2, IsExactToAFloat) {
    double worst = 0;
    for (int i = 0; i <= 126 << 13; ++i) {
        const float x = static_cast<float>(i) * -0x1p-13F;
        const double exact = std::exp2(static_cast<double>(x));
        worst = std::fmax(worst, std::fabs(static_cast<double>(fine_exp2(x)) - exact) / exact);
    }
    EXPECT_LE(worst, 1.5e-7);
    EXPECT_GE(worst, 0.5e-7);
    for (const float whole : {0.0F, -1.0F, -25.0F, -126.0F})
        EXPECT_EQ(fine_exp2(whole), std::exp2(whole));
    for (const float low : {-126.6F, -1e30F, -kInfinity})
        EXPECT_EQ(fine_exp2(low), 0.0F);
    EXPECT_TRUE(std::isnan(fine_exp2(NAN)));
}

}  // namespace
}  // namespace rknpu2
