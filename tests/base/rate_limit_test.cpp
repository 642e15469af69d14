// SPDX-License-Identifier: MIT
#include "base/log.hpp"

#include <gtest/gtest.h>

namespace rknpu2 {
namespace {

TEST(RateLimit, ABurstThenOneASecondThatCountsTheOthers) {
    RateLimit limit;
    const RateLimit::Time start{};
    for (uint64_t i = 0; i < RateLimit::kBurst; ++i) {
        EXPECT_TRUE(limit.allows(start));
        EXPECT_EQ(limit.left_out(), "");
    }
    EXPECT_FALSE(limit.allows(start));
    EXPECT_FALSE(limit.allows(start + RateLimit::kPause / 2));
    EXPECT_TRUE(limit.allows(start + RateLimit::kPause));
    EXPECT_EQ(limit.left_out(), " (and 2 lines like this one before it)");
    EXPECT_FALSE(limit.allows(start + RateLimit::kPause * 3 / 2));
    EXPECT_TRUE(limit.allows(start + RateLimit::kPause * 3));
    EXPECT_EQ(limit.left_out(), " (and 1 lines like this one before it)");
    EXPECT_TRUE(limit.allows(start + RateLimit::kPause * 9));
    EXPECT_EQ(limit.left_out(), "");
}

}  // namespace
}  // namespace rknpu2
