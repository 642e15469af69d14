// SPDX-License-Identifier: MIT
#include "kernels/dequantise.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/kernel_cases.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

using test::Edge;
using test::GuardedBuffer;
using test::Random;
using test::same_float;
using test::same_floats;

struct Case {
    size_t M, N, M_total, m0, stride;
    Accumulate mode;

    explicit Case(Random& random) {
        M = random.one_in(4) ? 1 : random.size(1, random.one_in(10) ? 300 : 20);
        N = random.one_in(20) ? 1 : random.size(1, 300);
        m0 = random.one_in(2) ? 0 : random.size(0, 6);
        M_total = m0 + M + (random.one_in(2) ? 0 : random.size(0, 6));
        stride = N + random.size(0, 5);
        mode = random.one_in(2) ? Accumulate::kStore : Accumulate::kAdd;
    }
    // Only whole column groups up to N are needed of the cube.
    size_t cube() const { return round_up(N, 4) * M_total; }
    size_t out() const { return (M - 1) * stride + N; }
    std::string text() const {
        return "M=" + std::to_string(M) + " N=" + std::to_string(N) + " M_total=" + std::to_string(M_total) +
               " m0=" + std::to_string(m0) + " stride=" + std::to_string(stride) +
               (mode == Accumulate::kAdd ? " add" : " store");
    }
};

template <typename Element>
void run(const Element* native, const Case& c, const float* row_scales, const float* channel_scales,
         float* out, TestTier tier) {
    dequantise_rows(CubeToRows<Element>{native, c.M_total, c.m0, c.M, c.N, row_scales, channel_scales, out,
                                        c.stride, c.mode},
                    tier);
}

void draw(Random& random, int32_t& value) {
    value = static_cast<int32_t>(random.bits());
    if (random.one_in(2)) value >>= 12;
}
void draw(Random& random, float& value) {
    value = random.one_in(50) ? random.not_finite() : random.normal() * 1000;
}
float draw_scale(Random& random) {
    if (random.one_in(20)) return std::numeric_limits<float>::quiet_NaN();
    if (random.one_in(20)) return random.any_finite();
    return random.one_in(20) ? 0.0F : std::fabs(random.normal());
}

template <typename Element>
void expect_tiers_agree() {
    Random random;
    for (int i = 0; i < 400; ++i) {
        const Case c(random);
        SCOPED_TRACE(c.text());
        const GuardedBuffer<Element> native(c.cube(), random.one_in(2) ? Edge::kEnd : Edge::kBegin);
        for (Element& value : native)
            draw(random, value);
        const GuardedBuffer<float> row_scales(c.M);
        const GuardedBuffer<float> channel_scales(c.N);
        for (float& scale : row_scales)
            scale = draw_scale(random);
        for (float& scale : channel_scales)
            scale = draw_scale(random);
        const GuardedBuffer<float> before(c.out());
        for (float& value : before)
            value = random.normal();
        const GuardedBuffer<float> expected(c.out());
        std::copy(before.begin(), before.end(), expected.begin());
        run(native.data(), c, row_scales.data(), channel_scales.data(), expected.data(),
            TestTier::kReference);
        for (const TestTier tier : test_tiers()) {
            for (const Edge edge : {Edge::kEnd, Edge::kBegin}) {
                const GuardedBuffer<float> out(c.out(), edge);
                std::copy(before.begin(), before.end(), out.begin());
                run(native.data(), c, row_scales.data(), channel_scales.data(), out.data(), tier);
                ASSERT_TRUE(same_floats(out, expected)) << kernel_tier_name(tier);
            }
        }
        // By the definition, and nothing between the rows.
        for (size_t at = 0; at < c.out(); ++at) {
            const size_t m = at / c.stride;
            const size_t n = at % c.stride;
            if (n >= c.N) {
                ASSERT_TRUE(same_float(expected[at], before[at])) << "gap after row " << m;
                continue;
            }
            const auto acc =
                static_cast<float>(native[c_index_native(c.m0 + m, n, c.M_total, DType::kInt32)]);
            const float scaled = acc * row_scales[m];
            const float value = scaled * channel_scales[n];
            const float sum = before[at] + value;
            ASSERT_TRUE(same_float(expected[at], c.mode == Accumulate::kAdd ? sum : value)) << m << "," << n;
        }
    }
}

TEST(Dequantise, TiersAgreeInt32) {
    expect_tiers_agree<int32_t>();
}
TEST(Dequantise, TiersAgreeFloat32) {
    expect_tiers_agree<float>();
}

// Large enough to be written around the caches, if `out` is aligned; an edge on the right and one below.
TEST(Dequantise, TiersAgreeOnLargeResults) {
    constexpr size_t kM = 131;
    constexpr size_t kN = 2107;
    constexpr size_t kStride = 2112;
    Random random;
    std::vector<int32_t> native(round_up(kN, 4) * kM);
    for (int32_t& value : native)
        draw(random, value);
    std::vector<float> row_scales(kM);
    std::vector<float> channel_scales(kN);
    for (float& scale : row_scales)
        scale = draw_scale(random);
    for (float& scale : channel_scales)
        scale = draw_scale(random);
    for (const Accumulate mode : {Accumulate::kStore, Accumulate::kAdd}) {
        for (const size_t shift : {0U, 16U, 3U}) {  // from a page's beginning
            const auto result = [&](TestTier tier) {
                std::vector<float> floats(kM * kStride + 1024 + shift, 1.0F);
                auto* const page = reinterpret_cast<float*>(
                    round_up(reinterpret_cast<uintptr_t>(floats.data()), 1024 * sizeof(float)));
                dequantise_rows(CubeToRows<int32_t>{native.data(), kM, 0, kM, kN, row_scales.data(),
                                                    channel_scales.data(), page + shift, kStride, mode},
                                tier);
                return std::vector<float>(page + shift, page + shift + (kM - 1) * kStride + kN);
            };
            const std::vector<float> expected = result(TestTier::kReference);
            for (const TestTier tier : test_tiers())
                ASSERT_TRUE(same_floats(result(tier), expected)) << kernel_tier_name(tier) << " " << shift;
        }
    }
}

TEST(Dequantise, AScaleOfNaNIsConfinedToItsRowAndColumn) {
    constexpr size_t kM = 6;
    constexpr size_t kN = 21;
    const std::vector<int32_t> native(24 * kM, 0);  // even an accumulator of zero
    std::vector<float> row_scales(kM, 1.0F);
    std::vector<float> channel_scales(kN, 1.0F);
    row_scales[2] = channel_scales[17] = std::numeric_limits<float>::quiet_NaN();
    for (const TestTier tier : test_tiers()) {
        std::vector<float> out(kM * kN);
        dequantise_rows(CubeToRows<int32_t>{native.data(), kM, 0, kM, kN, row_scales.data(),
                                            channel_scales.data(), out.data(), kN, Accumulate::kStore},
                        tier);
        for (size_t m = 0; m < kM; ++m) {
            for (size_t n = 0; n < kN; ++n)
                ASSERT_EQ(std::isnan(out[m * kN + n]), m == 2 || n == 17) << m << "," << n;
        }
    }
}

// A part begins at its own rows, of the cube and of the floats.
TEST(Dequantise, PartsMakeUpTheWhole) {
    constexpr size_t kM = 11, kN = 37, kTotal = 16, kStride = 40;
    Random random;
    std::vector<int32_t> native(round_up(kN, 4) * kTotal);
    for (int32_t& value : native)
        draw(random, value);
    std::vector<float> row_scales(kM), channel_scales(kN, 0.5F);
    for (float& scale : row_scales)
        scale = random.normal();
    std::vector<float> whole(kM * kStride), parts(kM * kStride);
    CubeToRows<int32_t> rows{
        native.data(),     kTotal, 3, kM, kN, row_scales.data(), channel_scales.data(), whole.data(), kStride,
        Accumulate::kStore};
    dequantise_rows(rows);
    rows.out = parts.data();
    for (const auto& [first, count] : {std::pair<size_t, size_t>{0, 4}, {4, 1}, {5, 6}})
        dequantise_rows(rows.part(first, count));
    EXPECT_TRUE(same_floats(parts, whole));
}

}  // namespace
}  // namespace rknpu2
