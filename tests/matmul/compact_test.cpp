// SPDX-License-Identifier: MIT
// Four-bit weights on the int4 engine: what comes out is the product with the weights as they were rounded, bit
// for bit the same however rows are cut, and no sum of 16 bits is ever clipped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/rotate.hpp"
#include "matmul/fake_device.hpp"
#include "matmul/gathered.hpp"
#include "matmul/matrices.hpp"
#include "matmul/npu_device.hpp"
#include "support/random.hpp"

namespace rknpu2 {
namespace {

using testing::FakeState;
using testing::Matrices;

class CompactTest : public ::testing::Test {
  protected:
    std::shared_ptr<const PackedWeight> pack(const Matrices& x, int cores = 3) {
        npu_ = testing::new_device(state_, counters_, Precision::kCompact, cores);
        npu_->use_stats(testing::with_moments({{x.source(), &x.a}}));
        auto packed = npu_->pack(x.source());
        EXPECT_TRUE(packed.ok()) << packed.status().to_string();
        return packed.take();
    }

    std::vector<float> multiply(const PackedWeight& weight, const float* a, size_t M) {
        std::vector<float> out(M * weight.plan.N, std::nanf(""));
        const Status status = npu_->multiply(weight, a, M, out.data());
        EXPECT_TRUE(status.ok()) << status.to_string();
        return out;
    }

    // One row of activations by the weights as they lie in device memory, in float64 but for the rotation.
    static std::vector<double> by_stored_weights(const PackedWeight& weight, const float* row) {
        const WeightPlan& plan = weight.plan;
        std::vector<double> out(weight.bias.begin(), weight.bias.end());
        for (size_t s = 0; s < plan.segments.size(); ++s) {
            const KSegment& segment = plan.segments[s];
            std::vector<float> rotated(segment.K_padded);
            rotate_rows({row + segment.k0, plan.K, 1, segment.k_count, segment.K_padded, rotated.data()});
            mix_blocks(rotated.data(), 1, segment.K_padded);
            for (size_t t = 0; t < plan.tiles.size(); ++t) {
                const NTile& tile = plan.tiles[t];
                const auto* const cell = reinterpret_cast<const uint8_t*>((*weight.cells)[s][t].data());
                for (size_t n = 0; n < tile.n_count; ++n) {
                    const double scale = weight.channel_scales[s][tile.n0 + n];
                    const double offset = weight.channel_offsets[s][tile.n0 + n];
                    double sum = 0;
                    for (size_t k = 0; k < segment.K_padded; ++k) {
                        const int code = int4_get(
                            cell, b_index_native(k, n, segment.K_padded, tile.N_padded, DType::kInt4));
                        sum += rotated[k] * (scale * code + offset);
                    }
                    out[tile.n0 + n] += sum;
                }
            }
        }
        return out;
    }

    FakeState state_;
    Counters counters_;
    std::shared_ptr<NpuDevice> npu_;
};

// What is left is the rounding of the activations, to 119 steps of the largest.
TEST_F(CompactTest, IsTheProductWithTheStoredWeights) {
    for (const auto& [M, N, K] :
         {std::tuple<size_t, size_t, size_t>{3, 70, 96}, {5, 33, 1000}, {2, 130, 2560}, {1, 40, 5000}}) {
        const Matrices x(M, N, K, 7);
        const auto packed = pack(x);
        EXPECT_EQ(packed->plan.recipe.arithmetic, NpuArithmetic::kInt4);
        const std::vector<float> out = multiply(*packed, x.a.data(), M);
        double difference = 0, total = 0;
        for (size_t m = 0; m < M; ++m) {
            const std::vector<double> expected = by_stored_weights(*packed, x.a.data() + m * K);
            for (size_t n = 0; n < N; ++n) {
                difference += (out[m * N + n] - expected[n]) * (out[m * N + n] - expected[n]);
                total += expected[n] * expected[n];
            }
        }
        EXPECT_LT(std::sqrt(difference / total), 0.016) << N << " x " << K;
        // Random weights of equal spread: four bits leave a tenth.
        EXPECT_LT(x.error_of(out), 0.14) << N << " x " << K;
        EXPECT_GT(counters_.int4_matmuls, 0U);
    }
    EXPECT_EQ(state_.clipped, 0U);
}

TEST_F(CompactTest, ARowHasTheSameBitsAloneAndAmongOthersOnAnyCores) {
    for (const auto& [M, N, K] :
         {std::tuple<size_t, size_t, size_t>{300, 96, 96}, {17, 70, 2400}, {40, 200, 4500}}) {
        const Matrices x(M, N, K, 3);
        const std::vector<float> whole = multiply(*pack(x), x.a.data(), M);
        const std::vector<float> on_one = multiply(*pack(x, 1), x.a.data(), M);
        EXPECT_EQ(whole, on_one);
        const auto packed = pack(x, 2);
        for (const size_t rows : {1U, 2U, 7U, 16U}) {
            for (size_t m = 0; m + rows <= M; m += M / 2) {
                const std::vector<float> some = multiply(*packed, x.a.data() + m * K, rows);
                EXPECT_EQ(std::memcmp(some.data(), whole.data() + m * N, some.size() * sizeof(float)), 0)
                    << m << ", " << rows;
            }
        }
    }
}

// Shapes as models have them, K to 28672, with 1 to 16 rows of a prompt as generation multiplies them.
TEST_F(CompactTest, ARowOfAnyShapeHasTheSameBitsInAPrompt) {
    test::Random random;
    for (int trial = 0; trial < 12; ++trial) {
        const size_t K = trial == 0 ? 28672
                                    : random.size(1, trial % 4 == 3   ? 300
                                                     : trial % 3 == 0 ? 12000
                                                                      : 3000);
        // Every fourth is so wide that results of few rows are taken in bands of columns.
        const size_t N = trial == 0 ? 40 : trial % 4 == 3 ? 3000 : random.size(1, 150);
        const size_t M = random.size(17, 140);
        const Matrices x(M, N, K, static_cast<uint32_t>(trial));
        const auto packed = pack(x, static_cast<int>(random.size(1, 3)));
        const std::vector<float> prompt = multiply(*packed, x.a.data(), M);
        for (size_t rows = 1; rows <= 16; ++rows) {
            const size_t m = random.size(0, M - rows);
            const std::vector<float> some = multiply(*packed, x.a.data() + m * K, rows);
            ASSERT_EQ(std::memcmp(some.data(), prompt.data() + m * N, some.size() * sizeof(float)), 0)
                << N << " x " << K << ": rows " << m << " to " << m + rows << " of " << M;
        }
    }
}

// More pieces than a weight needs give the same bits: the sums of digits are exact.
TEST_F(CompactTest, PiecesChangeNoBit) {
    const Matrices x(19, 70, 2560, 5);
    const auto packed = pack(x);
    const std::vector<float> out = multiply(*packed, x.a.data(), x.M);
    EXPECT_EQ(counters_.split_rows, x.M);
    for (const size_t planes : {8U, 16U}) {
        PackedWeight more = *packed;
        ASSERT_GT(planes, more.planes);
        more.planes = planes;
        EXPECT_EQ(multiply(more, x.a.data(), x.M), out) << planes;
    }
    EXPECT_EQ(state_.clipped, 0U);
}

// Rows and weights that make sums as large as they can be: one massive activation, which rotation spreads over its
// block, constants, rows that follow a weight's signs, and weights that all become the same code.
TEST_F(CompactTest, NoSumIsEverClipped) {
    for (const size_t K : {512U, 1536U, 2560U, 9000U, 28672U}) {
        Matrices x(6, 5, K, static_cast<uint32_t>(K));
        for (size_t k = 0; k < K; ++k) {
            x.a[k] = k == 7 ? 1000.0F : 0.01F * x.a[k];
            x.a[K + k] = k % 512 == 0 ? 100.0F : 0.0F;
            x.a[2 * K + k] = 1.0F;
            x.a[3 * K + k] = x.w[k] > 0 ? 1.0F : -1.0F;
            x.a[4 * K + k] = x.w[K + k];
            x.w[2 * K + k] = k % 2 == 0 ? 1.0F : -1.0F;
            x.w[3 * K + k] = k % 512 == 0 ? 50.0F : 0.001F * x.w[3 * K + k];
            x.w[4 * K + k] = 1.0F;
        }
        const auto packed = pack(x);
        const std::vector<float> out = multiply(*packed, x.a.data(), x.M);
        for (size_t m = 0; m < x.M; ++m) {
            const std::vector<double> expected = by_stored_weights(*packed, x.a.data() + m * K);
            double largest = 0;
            for (const double value : expected)
                largest = std::max(largest, std::abs(value));
            for (size_t n = 0; n < x.N; ++n)
                EXPECT_NEAR(out[m * x.N + n], expected[n], 0.05 * largest) << K << ": " << m << ", " << n;
        }
    }
    EXPECT_EQ(state_.clipped, 0U);
    EXPECT_GT(counters_.split_rows, 0U);
}

TEST_F(CompactTest, FarRowsAndChannelsAndWhatIsNotFinite) {
    Matrices x(6, 37, 600, 11);
    for (size_t k = 0; k < x.K; ++k) {
        x.a[k] *= 1e35F;
        x.a[x.K + k] *= 1e-36F;
        x.a[2 * x.K + k] = 0.0F;
        x.w[4 * x.K + k] *= 1e-30F;
        x.w[5 * x.K + k] *= 1e25F;
        x.w[6 * x.K + k] = 0.0F;
    }
    Matrices plain = x;
    std::fill_n(plain.a.begin(), 3 * x.K, 1.0F);
    x.a[3 * x.K + 5] = std::numeric_limits<float>::infinity();
    x.w[7 * x.K + 5] = std::nanf("");
    plain.w = x.w;
    npu_ = testing::new_device(state_, counters_, Precision::kCompact);
    npu_->use_stats(testing::with_moments({{x.source(), &plain.a}}));
    const auto packed = npu_->pack(x.source());
    ASSERT_TRUE(packed.ok());
    const std::vector<float> out = multiply(*packed.value(), x.a.data(), x.M);
    for (size_t m = 0; m < x.M; ++m) {
        for (size_t n = 0; n < x.N; ++n) {
            const float value = out[m * x.N + n];
            SCOPED_TRACE(::testing::Message() << m << ", " << n << ": " << value);
            if (m == 3 || n == 7) {
                EXPECT_TRUE(std::isnan(value));
            } else if (m == 2 || n == 6) {
                EXPECT_EQ(value - packed.value()->bias[n], 0.0F);
            } else if (const double exact = x.exact(m, n); std::isfinite(static_cast<float>(exact))) {
                double norms = 0;
                for (size_t k = 0; k < x.K; ++k)
                    norms += std::pow(static_cast<double>(x.a[m * x.K + k]) * x.w[n * x.K + k], 2);
                EXPECT_NEAR(value, exact, 0.6 * std::sqrt(norms) + std::abs(packed.value()->bias[n]) + 1e-44);
            }
        }
    }
}

TEST_F(CompactTest, WithoutSecondMomentsAModelIsRefused) {
    const Matrices x(2, 33, 96, 1);
    WeightSource source = x.source();
    npu_ = testing::new_device(state_, counters_, Precision::kCompact);
    source.name = "blk.0.attn_q.weight";
    const auto packed = npu_->pack(source);
    ASSERT_FALSE(packed.ok());
    EXPECT_THAT(packed.status().to_string(), ::testing::HasSubstr("scripts/calibrate.sh"));
    // What is no model's weight keeps eight bits.
    source.name = "blk.0.attn_q.weight.lora_a";
    const auto adapter = npu_->pack(source);
    ASSERT_TRUE(adapter.ok());
    EXPECT_EQ(adapter.value()->plan.recipe.arithmetic, NpuArithmetic::kInt8);
    // So is one whose statistics are of before there were moments.
    ModelStats old = testing::gathered_from(x);
    old.begin()->second.moments = nullptr;
    npu_->use_stats(std::make_unique<StatsLibrary>(old));
    source.name = "blk.0.attn_q.weight";
    EXPECT_FALSE(npu_->pack(source).ok());
}

// Those of another quantisation have its names. Beside a model that has some, a second one is not refused.
TEST_F(CompactTest, StatisticsOfAnotherModelAreNone) {
    const Matrices x(2, 33, 96, 1), y(2, 33, 96, 2);
    WeightSource known = x.source(), other = y.source();
    known.name = other.name = "blk.0.attn_q.weight";
    for (const bool known_first : {true, false}) {
        npu_ = testing::new_device(state_, counters_, Precision::kCompact);
        npu_->use_stats(testing::with_moments({{known, &x.a}}));
        if (known_first) {
            ASSERT_TRUE(npu_->pack(known).ok());
        }
        const auto packed = npu_->pack(other);
        EXPECT_EQ(packed.ok(), known_first);
        if (!packed.ok()) {
            EXPECT_THAT(packed.status().to_string(), ::testing::HasSubstr("scripts/calibrate.sh"));
        }
        EXPECT_TRUE(npu_->pack(known).ok());
    }
}

// Another model's weight, or one that no text has reached.
TEST_F(CompactTest, AWeightWithoutSecondMomentsKeepsEightBitsWhicheverComesFirst) {
    const Matrices x(2, 33, 96, 1);
    WeightSource known = x.source(), other = x.source();
    known.name = "blk.0.attn_q.weight";
    other.name = "blk.1.attn_q.weight";
    for (const bool known_first : {true, false}) {
        npu_ = testing::new_device(state_, counters_, Precision::kCompact);
        npu_->use_stats(testing::with_moments({{known, &x.a}}));
        for (const WeightSource& source : {known_first ? known : other, known_first ? other : known}) {
            const auto packed = npu_->pack(source);
            ASSERT_TRUE(packed.ok()) << packed.status().to_string();
            EXPECT_EQ(packed.value()->plan.recipe.arithmetic,
                      source.name == known.name ? NpuArithmetic::kInt4 : NpuArithmetic::kInt8);
        }
    }
}

}  // namespace
}  // namespace rknpu2
