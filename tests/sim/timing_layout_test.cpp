// SPDX-License-Identifier: MIT
// What normal layouts cost in virtual time: tasks of single rows, and the CPU's conversions.
#include <algorithm>

#include "sim/timing_fixture.hpp"

namespace rknnsim_test {
namespace {

// Products of several rows in normal layout, as published; before, the model was 2 to 80 times too fast for
// them.
TEST_F(TimingTest, NormalLayoutsOfSeveralRowsAsPublished) {
    const struct {
        int type;
        Shape shape;
        int cores;
        double us, factor;
    } rows[] = {
        {kF16F32, {64, 64, 64}, 1, 160, 1.25},   // allbilly/rk3588
        {kF16F32, {64, 128, 64}, 1, 118, 1.25},  // the same, K = 99
        {kF16F32, {256, 256, 256}, 1, 807, 1.75},
        {kI4I16, {128, 2048, 2048}, 1, 24200, 1.1},  // unimatrix099/rk-llama.cpp
        {kI8I32, {4, 2560, 87392}, 3, 85500, 1.1},
        {kI8I32, {128, 2048, 2048}, 1, 634, 1.25},
        {kI8I32, {1, 2560, 87392}, 3, 21400, 1.1},
    };
    set("RKNNSIM_INT4_NORMAL_B", "allow");
    for (const auto& row : rows) {
        const auto us = static_cast<double>(predict(row.type, row.shape, row.cores, 0).end_ns) / 1e3;
        EXPECT_LT(std::max(us / row.us, row.us / us), row.factor)
            << "type " << row.type << ", " << row.shape.M << "x" << row.shape.K << "x" << row.shape.N << ": "
            << us;
    }
}

TEST_F(TimingTest, NormalLayoutsCostCpuTime) {
    ASSERT_EQ(rknnsim_profile_set("convert_gbps", 2.0), 0);
    ASSERT_EQ(rknnsim_profile_set("convert_b_gbps", 0.5), 0);
    ASSERT_EQ(rknnsim_profile_set("bind_us", 3.0), 0);
    uint64_t b_ns = 640 * 96 * 2;  // element by element
    {
        Matmul matmul(kI8I32, {6, 640, 96}, kBNormal, 0);
        bind(matmul);
        EXPECT_EQ(rknnsim_time_now(), 3U * 3000 + 6 * 640 / 2 + b_ns);
        ASSERT_EQ(matmul.run(), 0);
        EXPECT_EQ(last_run().convert_ns, 6U * 96 * 4 / 2);
        const rknnsim_time_sums sums = totals();
        EXPECT_EQ(sums.bind_ns, 9000U);
        EXPECT_EQ(sums.convert_ns, 6U * 640 / 2 + b_ns + 6 * 96 * 4 / 2);
    }
    // One row of A and C is as it is; transposed B moves in pieces.
    const uint64_t before = rknnsim_time_now();
    const uint64_t converted = totals().convert_ns;
    Matmul one(kI8I32, {1, 640, 96}, kBTransposed, 0);
    bind(one);
    EXPECT_EQ(rknnsim_time_now() - before, 3U * 3000 + 640 * 96 / 2);
    ASSERT_EQ(one.run(), 0);
    EXPECT_EQ(last_run().convert_ns, 0U);
    EXPECT_EQ(totals().convert_ns - converted, 640U * 96 / 2);
}

}  // namespace
}  // namespace rknnsim_test
