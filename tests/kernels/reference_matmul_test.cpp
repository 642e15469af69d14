// SPDX-License-Identifier: MIT
#include "kernels/reference_matmul.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/kernel_cases.hpp"

namespace rknpu2 {
namespace {

using test::GuardedBuffer;
using test::Random;
using test::same_floats;

struct Case {
    size_t M, N, K, a_stride, out_stride;

    Case(Random& random, size_t largest) {
        M = random.one_in(3) ? 1 : random.size(1, largest);
        N = random.one_in(10) ? 1 : random.size(1, 2 * largest);
        K = random.one_in(20) ? 1 : random.size(1, random.one_in(5) ? 1500 : 200);
        a_stride = K + random.size(0, 5);
        out_stride = N + random.size(0, 5);
    }
    std::string text() const {
        return "M=" + std::to_string(M) + " N=" + std::to_string(N) + " K=" + std::to_string(K);
    }
};

GuardedBuffer<float> normal_values(Random& random, size_t count) {
    GuardedBuffer<float> values(count);
    for (float& value : values)
        value = random.normal();
    return values;
}

TEST(ReferenceMatmul, TiersAgreeAndGapsStay) {
    Random random;
    for (int i = 0; i < 200; ++i) {
        const Case c(random, 50);
        SCOPED_TRACE(c.text());
        // Every other case with awkward numbers: overflow to infinity, NaN, subnormals.
        const auto a = i % 2 == 0 ? test::random_rows(random, c.M, c.K, c.a_stride)
                                  : normal_values(random, (c.M - 1) * c.a_stride + c.K);
        const auto b =
            i % 2 == 0 ? test::random_rows(random, c.N, c.K, c.K) : normal_values(random, c.N * c.K);
        const GuardedBuffer<float> expected((c.M - 1) * c.out_stride + c.N);
        matmul_reference(a.data(), c.a_stride, b.data(), c.M, c.N, c.K, expected.data(), c.out_stride,
                         TestTier::kReference);
        for (const TestTier tier : test_tiers()) {
            const GuardedBuffer<float> out((c.M - 1) * c.out_stride + c.N);
            matmul_reference(a.data(), c.a_stride, b.data(), c.M, c.N, c.K, out.data(), c.out_stride, tier);
            ASSERT_TRUE(same_floats(out, expected)) << kernel_tier_name(tier);
        }
    }
}

TEST(ReferenceMatmul, AgreesWithLongDouble) {
    Random random;
    for (int i = 0; i < 30; ++i) {
        const Case c(random, 12);
        SCOPED_TRACE(c.text());
        const auto a = normal_values(random, (c.M - 1) * c.a_stride + c.K);
        const auto b = normal_values(random, c.N * c.K);
        std::vector<float> out(c.M * c.out_stride);
        matmul_reference(a.data(), c.a_stride, b.data(), c.M, c.N, c.K, out.data(), c.out_stride);
        long double error = 0;
        long double norm = 0;
        for (size_t m = 0; m < c.M; ++m) {
            for (size_t n = 0; n < c.N; ++n) {
                long double sum = 0;
                for (size_t k = 0; k < c.K; ++k)
                    sum += static_cast<long double>(a[m * c.a_stride + k]) * b[n * c.K + k];
                const long double difference = sum - out[m * c.out_stride + n];
                error += difference * difference;
                norm += sum * sum;
            }
        }
        ASSERT_LE(std::sqrt(error), 1e-7L * std::sqrt(norm));
    }
}

// Numbers that cancel show the order of the sum: four running sums, then (s0 + s1) + (s2 + s3).
TEST(ReferenceMatmul, SumsInTheDocumentedOrder) {
    constexpr float kHuge = 0x1p60F;  // 1 vanishes beside it, even in double
    const float ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    const struct {
        float b[8];
        float expected;
    } cases[] = {
        {{kHuge, 0, 0, 0, -kHuge, 1, 0, 0}, 1},  // s0 cancels by itself
        {{kHuge, 1, -kHuge, 1, 0, 0, 0, 0}, 0},  // both ones are lost
        {{kHuge, -kHuge, 1, 1, 0, 0, 0, 0}, 2},  // s0 + s1 cancels first
        {{1, kHuge, 1, -kHuge, 0, 0, 0, 0}, 0}, {{1, 1, kHuge, -kHuge, 1, 0, 0, 0}, 3},
        {{kHuge, 0, 0, 0, 1, -kHuge, 0, 0}, 0},
    };
    for (const TestTier tier : test_tiers()) {
        for (const auto& c : cases) {
            for (const size_t M : {1, 5}) {  // both strategies of the generic tier
                std::vector<float> out(M);
                matmul_reference(ones, 0, c.b, M, 1, 8, out.data(), 1, tier);
                for (const float value : out)
                    EXPECT_EQ(value, c.expected) << &c - cases << " " << kernel_tier_name(tier);
            }
        }
    }
}

// The bits of an output depend on its row and its column only: not on how many others are computed with it.
TEST(ReferenceMatmul, OutputsAreIndependent) {
    Random random;
    for (int i = 0; i < 40; ++i) {
        const Case c(random, 40);
        SCOPED_TRACE(c.text());
        const auto a = test::random_rows(random, c.M, c.K, c.a_stride);
        const auto b = test::random_rows(random, c.N, c.K, c.K);
        const GuardedBuffer<float> out(c.M * c.N);
        matmul_reference(a.data(), c.a_stride, b.data(), c.M, c.N, c.K, out.data(), c.N);
        for (int part = 0; part < 10; ++part) {
            const size_t m = random.size(0, c.M - 1);
            const size_t n = random.size(0, c.N - 1);
            const size_t rows = random.size(1, c.M - m);
            const size_t columns = random.size(1, c.N - n);
            const GuardedBuffer<float> some(rows * columns);
            matmul_reference(a.data() + m * c.a_stride, c.a_stride, b.data() + n * c.K, rows, columns, c.K,
                             some.data(), columns);
            for (size_t r = 0; r < rows; ++r) {
                for (size_t j = 0; j < columns; ++j)
                    ASSERT_TRUE(test::same_float(some[r * columns + j], out[(m + r) * c.N + n + j]));
            }
        }
    }
}

TEST(ReferenceMatmul, NaNStaysInItsRowAndColumn) {
    Random random;
    constexpr size_t kM = 9;
    constexpr size_t kN = 11;
    constexpr size_t kK = 37;
    const auto a = normal_values(random, kM * kK);
    const auto b = normal_values(random, kN * kK);
    a[4 * kK + 36] = std::numeric_limits<float>::quiet_NaN();
    b[10 * kK] = std::numeric_limits<float>::infinity();
    std::vector<float> out(kM * kN);
    matmul_reference(a.data(), kK, b.data(), kM, kN, kK, out.data(), kN);
    for (size_t m = 0; m < kM; ++m) {
        for (size_t n = 0; n < kN; ++n) {
            ASSERT_EQ(std::isfinite(out[m * kN + n]), m != 4 && n != 10) << m << "," << n;
        }
    }
}

TEST(ReferenceMatmul, NoK) {
    for (const TestTier tier : test_tiers()) {
        float out[6] = {1, 1, 1, 1, 1, 1};
        const float none = 0;
        matmul_reference(&none, 0, &none, 2, 3, 0, out, 3, tier);
        for (const float value : out)
            EXPECT_EQ(value, 0.0F);
    }
}

}  // namespace
}  // namespace rknpu2
