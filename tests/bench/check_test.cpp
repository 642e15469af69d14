// The model against what was published.
#include "predict/check.hpp"

#include <gmock/gmock.h>

#include "bench/predict_cases.hpp"

namespace rknpu2 {
namespace {

TEST(Check, EveryBarIsMet) {
    const auto rows = check_model(shipped_board());
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_EQ(rows.value().size(), 15);
    for (const CheckRow& row : rows.value())
        EXPECT_TRUE(row.ok()) << row.what << ": " << row.modelled << " for " << row.published;
    EXPECT_THAT(check_text(rows.value()), testing::HasSubstr("all 15 within their bars"));
}

TEST(Check, AWrongProfileMissesThem) {
    BoardProfile board = shipped_board();
    board.npu.mac_efficiency = 0.4;
    const auto rows = check_model(board);
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_FALSE(rows.value()[1].ok());  // bound by arithmetic
    EXPECT_THAT(check_text(rows.value()), testing::HasSubstr("MISSED"));
}

}  // namespace
}  // namespace rknpu2
