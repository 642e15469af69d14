// SPDX-License-Identifier: MIT
#include "plan/cost_model.hpp"

#include <gtest/gtest.h>

namespace rknpu2 {
namespace {

constexpr NpuArithmetic kInt8 = NpuArithmetic::kInt8;
constexpr BoardRates kRates = kBoardRates;

TEST(CostModel, WeightsAreReadOnceForEachTileOfActivations) {
    // 32 rows of 4096 fill the buffer, so 32 rows cost about what one does, and 64 twice that.
    const double one = run_ns(kRates, kInt8, 1, 4096, 1365, 3);
    const double tile = run_ns(kRates, kInt8, 32, 4096, 1365, 3);
    const double two = run_ns(kRates, kInt8, 64, 4096, 1365, 3);
    EXPECT_LT(tile, 1.1 * one);
    EXPECT_GT(two, 1.9 * tile - kRates.run_ns);
    // Short rows are as fast as the multipliers.
    const double macs = 128.0 * 1024 * 1024;
    const double calls = kRates.run_ns + 2 * kRates.sync_ns + 128 * (1024 + 4 * 1024) / kRates.sync_gbps;
    EXPECT_NEAR(run_ns(kRates, kInt8, 128, 1024, 1024, 1) - calls, macs / kRates.int8_macs_per_ns,
                0.1 * macs / kRates.int8_macs_per_ns);
}

// What others measured of fp16 with 2048 rows and 512 columns: 129 passes over the weights at K = 4096, and
// at most 39 at K = 2048 (docs/published-facts.csv, 45). int8 has four banks whatever K.
TEST(CostModel, TilesAreThoseThatWereMeasured) {
    constexpr NpuArithmetic kFp16 = NpuArithmetic::kFloat16;
    EXPECT_EQ(tile_rows(kRates, kFp16, 4096), 16U);
    EXPECT_EQ(tile_rows(kRates, kFp16, 2048), 64U);
    EXPECT_EQ(tile_rows(kRates, kFp16, 8192), 8U);
    EXPECT_EQ(tile_rows(kRates, kFp16, 512), 256U);
    for (const size_t K : {512U, 1024U, 2048U, 4096U, 8192U})
        EXPECT_EQ(tile_rows(kRates, kInt8, K), 4 * 32768 / K);
}

TEST(CostModel, WideResultsAreReadSlowly) {
    const double elements = 64.0 * 2048;
    EXPECT_NEAR(dequantise_ns(kRates, kInt8, 64, 2048, 1, 2048) / elements, 8 / 20.0, 1e-9);
    EXPECT_NEAR(dequantise_ns(kRates, kInt8, 64, 2048, 1, 10240) / elements, 8 / 5.5, 1e-9);
    EXPECT_NEAR(dequantise_ns(kRates, kInt8, 1, 2048, 1, 10240) / 2048, 8 / 20.0,
                1e-9);  // one row lies together
    EXPECT_EQ(results_gbps(20, 5.5, kFewResultRows, 10240), 20);
    EXPECT_EQ(results_gbps(20, 5.5, kFewResultRows + 1, 10240), 5.5);
}

TEST(CostModel, MoreWorkNeverCostsLess) {
    for (const NpuArithmetic arithmetic : {kInt8, NpuArithmetic::kFloat16}) {
        for (const size_t K : {32U, 576U, 4096U, 8192U}) {
            double last = 0;
            for (const size_t rows : {1U, 2U, 31U, 32U, 33U, 64U, 256U}) {
                const double ns = run_ns(kRates, arithmetic, rows, K, 1024, 3);
                EXPECT_GE(ns, last);
                EXPECT_LE(ns, run_ns(kRates, arithmetic, rows, K, 2048, 3));
                EXPECT_LE(quantise_ns(kRates, arithmetic, rows, K),
                          quantise_ns(kRates, arithmetic, rows + 1, K));
                last = ns;
            }
        }
    }
    EXPECT_LT(dequantise_ns(kRates, kInt8, 64, 4096, 1, 4096),
              dequantise_ns(kRates, kInt8, 64, 4096, 2, 4096));
}

TEST(CostModel, ChunksOverlapWhatTheyCan) {
    // Where NPU and CPU are both busy, chunks are shorter than the whole; a single token is never cut.
    const CellGrid grid{2, 3};
    const size_t rows = best_chunk_rows(kRates, kInt8, 512, 4096, 12288, grid);
    EXPECT_LT(rows, kMaxRows);
    EXPECT_LT(multiplication_ns(kRates, kInt8, 512, 4096, 12288, grid, rows),
              multiplication_ns(kRates, kInt8, 512, 4096, 12288, grid, kMaxRows));
    EXPECT_EQ(best_chunk_rows(kRates, kInt8, 1, 4096, 12288, grid), kMaxRows);
    EXPECT_EQ(best_chunk_rows(kRates, kInt8, 64, 4096, 12288, grid), kMaxRows);
}

TEST(CostModel, LongRowsAreCutSoThatTheWeightsAreReadSeldom) {
    for (const size_t K : {32U, 576U, 1536U, 2048U})
        EXPECT_EQ(best_segments(kRates, kInt8, K), 1U) << K;
    EXPECT_EQ(best_segments(kRates, kInt8, 4096), 2U);
    // As many as cores, or twice that: one run for each core is one round.
    for (const size_t K : {5632U, 6912U, 8960U, 11008U, 14336U, 18944U})
        EXPECT_EQ(best_segments(kRates, kInt8, K) % 3, 0U) << K;
    for (size_t K = 1; K < 200'000; K += 997)
        EXPECT_GE(best_segments(kRates, kInt8, K), ceil_div(K, rk3588::kMaxK));
}

}  // namespace
}  // namespace rknpu2
