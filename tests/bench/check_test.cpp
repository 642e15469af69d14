// SPDX-License-Identifier: MIT
// The model against what was published.
#include "predict/check.hpp"

#include <gmock/gmock.h>

#include "bench/predict_cases.hpp"

namespace rknpu2 {
namespace {

TEST(Check, EveryBarIsMet) {
    const auto rows = check_model(shipped_board());
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_EQ(rows.value().size(), 3);
    for (const CheckRow& row : rows.value())
        EXPECT_TRUE(row.ok()) << row.what << ": " << row.modelled << " for " << row.published;
    EXPECT_THAT(check_text(rows.value()), testing::HasSubstr("all 3 within their bars"));
}

// A token of the engine whose account of its runs is published: 341 rounds, 4.1 GB.
TEST(Check, DecodeByTheRunsOfAnEngine) {
    BoardProfile board = shipped_board();
    const auto decode = [&] {
        const auto rows = check_model(board);
        EXPECT_TRUE(rows.ok());
        for (const CheckRow& row : rows.value())
            if (row.published == 4.55) return 1e3 / row.modelled;
        return 0.0;
    };
    const double ms = decode();
    EXPECT_NEAR(ms, 341 * 0.133 + 4.258 + 4.1e3 / 31.4 + 25, 0.01);
    board.npu.submit_us += 100;
    EXPECT_NEAR(decode() - ms, 34.1, 0.01);
}

TEST(Check, AWrongProfileMissesThem) {
    BoardProfile board = shipped_board();
    board.npu.stream_gbps[2] /= 2;
    const auto rows = check_model(board);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_FALSE(rows.value()[1].ok());  // bound by its weights
    EXPECT_THAT(check_text(rows.value()), testing::HasSubstr("MISSED"));
}

}  // namespace
}  // namespace rknpu2
