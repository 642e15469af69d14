// SPDX-License-Identifier: MIT
// GGML_RKNPU2_COLUMNS: how wide a run is decides how many runs there are, never a bit of a result.
#include "matmul/fake_device.hpp"
#include "matmul/matrices.hpp"
#include "plan/weight_plan.hpp"
#include "soc/rk3588.hpp"
#include "weights/weight_cache_fixture.hpp"

namespace rknpu2 {
namespace {

using testing::FakeState;
using testing::Matrices;

class ColumnsTest : public testing::WeightCacheTest {
  protected:
    ColumnsTest() { config_.weight_cache_directory.clear(); }

    std::vector<float> with_columns(int columns, const Matrices& x) {
        config_.columns = columns;
        return multiply(x);
    }
};

TEST_F(ColumnsTest, TheSameBitsWhateverTheWidth) {
    // Heads of few rows, more rows than a chunk has, and rows in several segments.
    for (const auto& [M, N, K] : {std::tuple<size_t, size_t, size_t>{1, 70000, 32},
                                  {3, 17000, 32},
                                  {260, 1000, 32},
                                  {2, 500, 4100}}) {
        const Matrices x(M, N, K, 7);
        for (const Precision precision :
             {Precision::kFast, Precision::kBalanced, Precision::kExact, Precision::kNaive}) {
            SCOPED_TRACE(::testing::Message()
                         << M << " x " << N << " x " << K << " " << precision_name(precision));
            config_.precision = precision;
            uint64_t runs = UINT64_MAX;
            std::vector<float> narrow;
            for (const int columns : {64, 4096, 8192, 16384, 65536, 131072}) {
                if (N / static_cast<size_t>(columns) > 400) continue;  // more runs than the test has time for
                const uint64_t before = counters_.runs;
                std::vector<float> out = with_columns(columns, x);
                EXPECT_LE(counters_.runs - before, runs) << columns;
                runs = counters_.runs - before;
                if (narrow.empty()) narrow = out;
                EXPECT_EQ(out, narrow) << columns;
            }
        }
    }
}

TEST_F(ColumnsTest, AHeadTakesSixRounds) {
    EXPECT_EQ(tile_count(262144, 1, 3, 4096), 66U);  // 22 rounds of three
    EXPECT_EQ(tile_count(262144, 1, 3), 18U);
    const Matrices x(1, 262144, 32, 1);
    config_.precision = Precision::kFast;
    multiply(x);
    EXPECT_EQ(counters_.runs, 18U);
}

TEST_F(ColumnsTest, WideRunsHaveFewRows) {
    EXPECT_EQ(most_result_rows(4096), kMaxRows);
    EXPECT_EQ(most_result_rows(16384), 64U);
    EXPECT_EQ(most_result_rows(rk3588::kMaxN), 8U);
    for (size_t columns = 64; columns <= rk3588::kMaxN; columns += 64)
        EXPECT_LE(most_result_rows(columns) * columns * sizeof(float), kMostResultBytes) << columns;
}

// What narrow runs have shared may have too many rows for a wide one, which then cuts them anew.
TEST_F(ColumnsTest, SharedActivationsAreCutAnewWhereResultsHaveNoRoom) {
    FakeState state;
    const auto npu = testing::new_device(state, counters_, Precision::kFast, 1);
    const size_t M = 256, K = 32;
    const Matrices x(M, 1, K, 3);
    const auto narrow = npu->pack(Matrices(1, 64, K, 4).source()).take();
    const auto wide = npu->pack(Matrices(1, 16384, K, 5).source()).take();
    const auto multiply_by = [&](const PackedWeight& weight, uint64_t version) {
        std::vector<float> out(M * weight.plan.N, -1.0F);
        const Status status = npu->multiply(weight, {x.a.data(), M, version}, out.data());
        EXPECT_TRUE(status.ok()) << status.to_string();
        return out;
    };
    const std::vector<float> apart = multiply_by(*wide, 0);
    const std::vector<float> narrow_apart = multiply_by(*narrow, 0);
    const uint64_t version = npu->new_version();
    multiply_by(*narrow, version);
    multiply_by(*narrow, version);
    EXPECT_EQ(counters_.activations_shared, 1U);
    EXPECT_EQ(multiply_by(*wide, version), apart);
    EXPECT_EQ(counters_.activations_shared, 1U);
    EXPECT_EQ(multiply_by(*wide, version), apart);
    EXPECT_EQ(multiply_by(*narrow, version), narrow_apart);
    EXPECT_EQ(counters_.activations_shared, 3U);
}

// Cells of one width are no cells of another: a cache has a file for each.
TEST_F(ColumnsTest, CachedWeightsAreThoseOfTheirWidth) {
    config_.weight_cache_directory = root_ + "/weights";
    const Matrices x(2, 20000, 64, 3);
    const std::vector<float> wide = with_columns(16384, x);
    expect_counts(0, 1, 0);
    EXPECT_EQ(with_columns(4096, x), wide);
    expect_counts(0, 2, 0);
    EXPECT_EQ(with_columns(16384, x), wide);
    EXPECT_EQ(with_columns(4096, x), wide);
    expect_counts(2, 2, 0);
    EXPECT_TRUE(warnings_.empty());
}

}  // namespace
}  // namespace rknpu2
