// SPDX-License-Identifier: MIT
// Rows in four bits: codes in range, feedback as GPTQ is written down, never worse than plain rounding by what counts,
// and the same whoever rounds them.
#include "weights/four_bits.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/random.hpp"
#include "system/thread_pool.hpp"

namespace rknpu2 {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// Activations of a few directions and some noise, as those of models are.
std::shared_ptr<const SecondMoments> correlated(test::Random& random, size_t K, size_t directions,
                                                size_t rows, float noise) {
    std::vector<float> basis(directions * K);
    for (float& x : basis)
        x = random.normal();
    std::vector<float> a(rows * K);
    for (size_t m = 0; m < rows; ++m) {
        for (size_t k = 0; k < K; ++k)
            a[m * K + k] = noise * random.normal();
        for (size_t d = 0; d < directions; ++d) {
            const float weight = random.normal() * static_cast<float>(d + 1);
            for (size_t k = 0; k < K; ++k)
                a[m * K + k] += weight * basis[d * K + k];
        }
    }
    MomentSums sums(K);
    sums.add(a.data(), rows);
    return sums.moments();
}

std::vector<float> drawn(test::Random& random, size_t count, float offset = 0) {
    std::vector<float> values(count);
    for (float& x : values)
        x = random.normal() + offset;
    return values;
}

std::vector<float> errors_of(const FourBitRows& rounded, const std::vector<float>& rows, size_t n) {
    std::vector<float> errors(rounded.K);
    for (size_t k = 0; k < rounded.K; ++k) {
        const auto code = static_cast<float>(rounded.codes[n * rounded.K + k]);
        errors[k] = rows[n * rounded.K + k] - rounded.scale[n] * (code - rounded.zero[n]);
    }
    return errors;
}

double squared(const std::vector<float>& errors) {
    double sum = 0;
    for (const float error : errors)
        sum += static_cast<double>(error) * error;
    return sum;
}

TEST(FourBits, PlainRoundingIsTheNearestCodeAndTheGridIsSearched) {
    test::Random random;
    for (const size_t K : {32U, 96U, 576U, 2560U}) {
        const std::vector<float> rows = drawn(random, 3 * K, 0.5F);
        const FourBitRows rounded = round_to_four_bits(rows.data(), 3, K, nullptr);
        ASSERT_EQ(rounded.codes.size(), 3 * K);
        for (size_t n = 0; n < 3; ++n) {
            float least = kInf, most = -kInf;
            for (size_t k = 0; k < K; ++k) {
                const float w = rows[n * K + k];
                least = std::min(least, w), most = std::max(most, w);
                const int code = rounded.codes[n * K + k];
                ASSERT_GE(code, kLeastCode);
                ASSERT_LE(code, kMostCode);
                const double here = std::fabs(w - rounded.scale[n] * (code - rounded.zero[n]));
                for (int other = kLeastCode; other <= kMostCode; ++other)
                    ASSERT_LE(here, std::fabs(w - rounded.scale[n] * (other - rounded.zero[n])) + 1e-5);
            }
            // Rounding over the whole width has an error of step^2 / 12, evenly spread.
            const double step = (most - least) / 15;
            EXPECT_LE(squared(errors_of(rounded, rows, n)), 1.35 * static_cast<double>(K) * step * step / 12);
        }
    }
}

TEST(FourBits, FeedbackIsNeverWorseAndUsuallyMuchBetter) {
    test::Random random;
    double plain = 0, fed_back = 0;
    for (const size_t K : {32U, 64U, 96U, 576U, 1536U}) {
        for (const size_t rows : {2U, 40U, 300U}) {
            const auto moments = correlated(random, K, random.size(1, 12), rows, 0.3F);
            const ErrorFeedback feedback(*moments, 0);
            const size_t N = 8;
            const std::vector<float> w = drawn(random, N * K);
            const FourBitRows before = round_to_four_bits(w.data(), N, K, nullptr);
            const FourBitRows after = round_to_four_bits(w.data(), N, K, &feedback);
            for (size_t n = 0; n < N; ++n) {
                const double by_plain = feedback.weighted_error(errors_of(before, w, n).data());
                const double by_feedback = feedback.weighted_error(errors_of(after, w, n).data());
                ASSERT_LE(by_feedback, by_plain * (1 + 1e-5)) << "K " << K << ", " << rows << " rows";
                plain += by_plain;
                fed_back += by_feedback;
            }
        }
    }
    EXPECT_LT(fed_back, 0.6 * plain);
}

// Moments without correlation leave nothing to feed back: only the grid may differ.
TEST(FourBits, WithoutCorrelationItIsPlainRounding) {
    test::Random random;
    constexpr size_t K = 320;
    const auto moments = make_moments(segments_of(K, NpuArithmetic::kInt4), std::vector<float>(K, 3.0F),
                                      std::vector<int8_t>(correlation_count(K)));
    ASSERT_NE(moments, nullptr);
    const ErrorFeedback feedback(*moments, 0);
    const std::vector<float> w = drawn(random, 4 * K);
    const FourBitRows before = round_to_four_bits(w.data(), 4, K, nullptr);
    const FourBitRows after = round_to_four_bits(w.data(), 4, K, &feedback);
    EXPECT_EQ(after.codes, before.codes);
    EXPECT_EQ(after.scale, before.scale);
    EXPECT_EQ(after.zero, before.zero);
}

// Column by column with the inverse of all that are left, as the paper has it, in float64; no Cholesky factors.
std::vector<int> by_the_paper(const std::vector<float>& row, const ErrorFeedback::Block& block, double scale,
                              double zero) {
    const size_t n = block.size;
    std::vector<std::vector<double>> inverse(n, std::vector<double>(2 * n));
    for (size_t i = 0; i < n; ++i) {
        for (size_t j = 0; j < n; ++j)
            inverse[i][j] = i == j  ? block.moments[i * n + i]
                            : i < j ? block.moments[i * n + j] / 2
                                    : block.moments[j * n + i] / 2;
        inverse[i][n + i] = 1;
    }
    for (size_t p = 0; p < n; ++p) {  // Gauss-Jordan
        const double pivot = inverse[p][p];
        for (double& x : inverse[p])
            x /= pivot;
        for (size_t i = 0; i < n; ++i) {
            if (i == p) continue;
            const double factor = inverse[i][p];
            for (size_t j = 0; j < 2 * n; ++j)
                inverse[i][j] -= factor * inverse[p][j];
        }
    }
    std::vector<double> w(row.begin(), row.end());
    std::vector<int> codes;
    for (size_t q = 0; q < n; ++q) {
        const double code = std::min(std::max(std::nearbyint(w[q] / scale + zero), -8.0), 7.0);
        codes.push_back(static_cast<int>(code));
        const double error = (w[q] - scale * (code - zero)) / inverse[q][n + q];
        for (size_t j = q; j < n; ++j)
            w[j] -= error * inverse[q][n + j];
        // Takes q out of what is left.
        std::vector<double> pivot_row = inverse[q];
        const double pivot = pivot_row[n + q];
        for (size_t i = q + 1; i < n; ++i) {
            const double factor = inverse[i][n + q] / pivot;
            for (size_t j = q; j < n; ++j)
                inverse[i][n + j] -= factor * pivot_row[n + j];
        }
    }
    return codes;
}

TEST(FourBits, FeedbackIsThatOfThePaper) {
    test::Random random;
    size_t equal = 0, all = 0;
    for (int trial = 0; trial < 20; ++trial) {
        const size_t K = trial % 2 == 0 ? 256 : 96;
        const auto moments = correlated(random, K, 6, 200, 0.5F);
        const ErrorFeedback feedback(*moments, 0);
        const std::vector<float> w = drawn(random, K);
        const FourBitRows rounded = round_to_four_bits(w.data(), 1, K, &feedback);
        const std::vector<int> expected =
            by_the_paper(w, feedback.blocks().front(), rounded.scale[0], rounded.zero[0]);
        // A weight between two codes may fall to either side, and those after it then differ, too.
        for (size_t k = 0; k < K; ++k, ++all)
            equal += rounded.codes[k] == expected[k] ? 1 : 0;
    }
    EXPECT_GT(static_cast<double>(equal), 0.97 * static_cast<double>(all));
}

TEST(FourBits, AnyNumberOfThreadsGivesTheSameBits) {
    test::Random random;
    constexpr size_t K = 576, N = 61;
    const auto moments = correlated(random, K, 9, 100, 0.4F);
    const ErrorFeedback feedback(*moments, 0);
    const std::vector<float> w = drawn(random, N * K);
    const FourBitRows whole = round_to_four_bits(w.data(), N, K, &feedback);
    for (const int threads : {1, 2, 5}) {
        ThreadPool pool(threads);
        std::vector<FourBitRows> rows(N);
        pool.parallel_for(N,
                          [&](size_t n) { rows[n] = round_to_four_bits(w.data() + n * K, 1, K, &feedback); });
        for (size_t n = 0; n < N; ++n) {
            EXPECT_TRUE(std::equal(rows[n].codes.begin(), rows[n].codes.end(), whole.codes.data() + n * K))
                << n;
            EXPECT_EQ(rows[n].scale[0], whole.scale[n]);
            EXPECT_EQ(rows[n].zero[0], whole.zero[n]);
        }
    }
}

TEST(FourBits, RowsThatAreNotOrdinary) {
    constexpr size_t K = 64;
    test::Random random;
    const auto moments = correlated(random, K, 3, 50, 0.2F);
    const ErrorFeedback feedback(*moments, 0);
    for (const ErrorFeedback* const with : {static_cast<const ErrorFeedback*>(nullptr), &feedback}) {
        for (const float value : {kInf, -kInf, std::nanf("")}) {
            std::vector<float> row(K, 1.0F);
            row[K - 1] = value;
            const FourBitRows rounded = round_to_four_bits(row.data(), 1, K, with);
            EXPECT_TRUE(std::isnan(rounded.scale[0]));
            EXPECT_EQ(rounded.zero[0], 0.0F);
            EXPECT_EQ(rounded.codes, std::vector<int8_t>(K));
        }
        std::vector<float> wide(K, 3e38F);
        wide[0] = -3e38F;
        EXPECT_TRUE(std::isnan(round_to_four_bits(wide.data(), 1, K, with).scale[0]));
        // Squares of these overflow; the codes are still a grid's, not those of the row before.
        std::vector<float> pair(2 * K, 1.0F);
        for (size_t k = 0; k < K; ++k)
            pair[K + k] = 1e30F * random.uniform();
        const FourBitRows huge = round_to_four_bits(pair.data(), 2, K, with);
        for (size_t k = 0; k < K; ++k) {
            const float value = huge.scale[1] * (static_cast<float>(huge.codes[K + k]) - huge.zero[1]);
            EXPECT_NEAR(value, pair[K + k], 0.51F * huge.scale[1]);
        }
        const std::vector<float> zeros(K);
        const FourBitRows none = round_to_four_bits(zeros.data(), 1, K, with);
        EXPECT_EQ(none.scale[0], 0.0F);
        EXPECT_EQ(none.zero[0], 0.0F);
        for (const float value : {5.0F, -0.125F}) {
            const std::vector<float> alike(K, value);
            const FourBitRows rounded = round_to_four_bits(alike.data(), 1, K, with);
            for (size_t k = 0; k < K; ++k)
                EXPECT_EQ(rounded.scale[0] * (static_cast<float>(rounded.codes[k]) - rounded.zero[0]), value);
        }
    }
}

// A file may hold anything that has a diagonal: the rounding stays finite, and no worse than the plain one.
TEST(FourBits, MomentsOfNoActivationsAtAll) {
    test::Random random;
    constexpr size_t K = 96;
    const auto segments = segments_of(K, NpuArithmetic::kInt4);
    const std::vector<float> w = drawn(random, 4 * K);
    for (const float size : {0.0F, 1.0F, 1e-30F, 1e37F}) {
        std::vector<float> squares(channel_count(segments));
        for (float& x : squares)
            x = size * std::fabs(random.normal());
        std::vector<int8_t> correlations(correlation_count(segments));
        for (int8_t& x : correlations)
            x = static_cast<int8_t>(static_cast<int>(random.size(0, 255)) - 128);
        const auto moments = make_moments(segments, squares, correlations);
        ASSERT_NE(moments, nullptr);
        const ErrorFeedback feedback(*moments, 0);
        const FourBitRows plain = round_to_four_bits(w.data(), 4, K, nullptr);
        const FourBitRows rounded = round_to_four_bits(w.data(), 4, K, &feedback);
        for (size_t n = 0; n < 4; ++n) {
            EXPECT_TRUE(std::isfinite(rounded.scale[n]));
            EXPECT_LE(feedback.weighted_error(errors_of(rounded, w, n).data()),
                      feedback.weighted_error(errors_of(plain, w, n).data()) * (1 + 1e-5));
        }
    }
}

}  // namespace
}  // namespace rknpu2
