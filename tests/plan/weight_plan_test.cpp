// SPDX-License-Identifier: MIT
#include "plan/weight_plan.hpp"

#include <gtest/gtest.h>

#include <set>
#include <tuple>
#include <vector>

#include "kernels/rotate.hpp"
#include "plan/cost_model.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

// What every plan must be, whatever the shape.
void expect_sound(const WeightPlan& plan, int cores) {
    const DType type = operand_type(plan.recipe.arithmetic);
    size_t k = 0;
    for (const KSegment& s : plan.segments) {
        EXPECT_EQ(s.k0, k);
        EXPECT_GE(s.k_count, 1U);
        EXPECT_EQ(s.K_padded, round_up(s.k_count, rk3588::kAlignK));
        EXPECT_LE(s.K_padded, most_segment_k(plan.recipe.arithmetic));
        if (plan.segments.size() > 1 && &s != &plan.segments.back()) {
            EXPECT_EQ(s.K_padded % kLargestRotation, 0U);
        }
        k += s.k_count;
    }
    EXPECT_EQ(k, plan.K);
    size_t n = 0;
    for (const NTile& t : plan.tiles) {
        EXPECT_EQ(t.n0, n);
        EXPECT_GE(t.n_count, 1U);
        EXPECT_EQ(t.N_padded, round_up(t.n_count, rk3588::align_n(type)));
        EXPECT_LE(t.N_padded, plan.most_columns);
        n += t.n_count;
    }
    EXPECT_EQ(n, plan.N);
    if (plan.recipe.arithmetic == NpuArithmetic::kInt4) {
        EXPECT_EQ(plan.recipe.planes, plan.longest_segment() > kPieceK ? 4U : 2U);
    }
    for (size_t s = 0; s < plan.segments.size(); ++s) {
        for (size_t t = 0; t < plan.tiles.size(); ++t)
            EXPECT_LT(plan.core_of(s, t), static_cast<size_t>(cores));
    }
}

TEST(PlanWeight, CoversEveryShape) {
    for (const Precision precision : {Precision::kNaive, Precision::kFast, Precision::kBalanced,
                                      Precision::kExact, Precision::kCompact}) {
        for (const int cores : {1, 2, 3}) {
            for (const size_t N :
                 {1U, 15U, 16U, 33U, 192U, 576U, 4096U, 4097U, 12289U, 49152U, 50257U, 151936U}) {
                for (const size_t K :
                     {1U, 31U, 32U, 576U, 1536U, 8192U, 8193U, 8960U, 16384U, 18944U, 140000U}) {
                    SCOPED_TRACE(::testing::Message() << "N=" << N << " K=" << K << " cores=" << cores);
                    expect_sound(plan_weight(N, K, recipe_of(precision), cores), cores);
                }
            }
        }
    }
}

TEST(PlanWeight, DealsWorkEvenlyToTheCores) {
    for (const size_t N : {576U, 1536U, 49152U, 11008U}) {
        const WeightPlan plan = plan_weight(N, 576, Recipe{}, 3);
        size_t columns[3] = {};
        for (size_t t = 0; t < plan.tiles.size(); ++t)
            columns[plan.core_of(0, t)] += plan.tiles[t].N_padded;
        for (const size_t c : columns)
            EXPECT_NEAR(static_cast<double>(c), N / 3.0, N * 0.05 + 32) << N;
    }
}

TEST(PlanWeight, PadsLittle) {
    for (const auto& [N, K] :
         {std::tuple<size_t, size_t>{576, 576}, {192, 576}, {1536, 576}, {576, 1536}, {49152, 576}}) {
        EXPECT_EQ(plan_weight(N, K, Recipe{}, 3).packed_bytes(), N * K);
        EXPECT_EQ(plan_weight(N, K, recipe_of(Precision::kExact), 3).packed_bytes(), 2 * N * K);
    }
}

std::vector<RowChunk> rows_of(size_t M, size_t planes, size_t most) {
    std::vector<RowChunk> chunks = {{1, 2, 3}};
    plan_rows(M, planes, most, chunks);
    return chunks;
}

// docs/pictures/grid.svg, which scripts/pictures.py draws with these numbers.
TEST(PlanWeight, TheGridsOfThePicture) {
    const Recipe int8 = recipe_of(Precision::kBalanced);
    const WeightPlan gate = plan_weight(11008, 4096, int8, 3);
    std::vector<size_t> begins;
    for (const KSegment& segment : gate.segments)
        begins.push_back(segment.k0);
    EXPECT_EQ(begins, (std::vector<size_t>{0, 2048}));
    begins.clear();
    for (const NTile& tile : gate.tiles)
        begins.push_back(tile.n0);
    EXPECT_EQ(begins, (std::vector<size_t>{0, 3680, 7360}));
    EXPECT_EQ(gate.core_of(1, 0), 0U);
    EXPECT_EQ(gate.core_of(1, 2), 2U);

    const WeightPlan down = plan_weight(4096, 11008, int8, 3);
    begins.clear();
    for (const KSegment& segment : down.segments)
        begins.push_back(segment.k0);
    EXPECT_EQ(begins, (std::vector<size_t>{0, 2048, 4096, 6144, 8192, 10240}));
    EXPECT_EQ(down.tiles.size(), 1U);
    EXPECT_EQ(down.core_of(4, 0), 1U);
}

TEST(PlanRows, CoversEveryM) {
    for (const auto& [planes, most] :
         {std::pair<size_t, size_t>{1, kMaxRows}, {2, kMaxRows}, {1, 64}, {2, 64}, {1, 96}, {1, 1}, {2, 2}}) {
        for (size_t M = 1; M < 1100; ++M) {
            size_t m = 0;
            for (const RowChunk& chunk : rows_of(M, planes, most)) {
                EXPECT_EQ(chunk.m0, m);
                const size_t rows = row_buckets()[chunk.bucket];
                const size_t used = chunk.count * planes;
                ASSERT_GE(rows, used);
                ASSERT_LE(used, most);
                EXPECT_LE(rows, used + used / 4 + 1) << "too much padding for " << used << " rows";
                m += chunk.count;
            }
            ASSERT_EQ(m, M);
        }
    }
    EXPECT_TRUE(rows_of(0, 1, kMaxRows).empty());
}

}  // namespace
}  // namespace rknpu2
