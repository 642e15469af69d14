// SPDX-License-Identifier: MIT
#include "system/system_memory.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace rknpu2 {
namespace {

constexpr size_t kGiB = size_t{1} << 30;

TEST(SystemMemory, AnEighthOfTheMachinesMemoryStaysFree) {
    const SystemMemory board{.total = 16 * kGiB, .available = 15 * kGiB};
    // A 7B in four bits, stored and packed; a 13B.
    EXPECT_TRUE(check_memory(11 * kGiB, board).ok());
    EXPECT_TRUE(check_memory(13 * kGiB, board).ok());
    const Status none = check_memory(13 * kGiB + 1, board);
    EXPECT_EQ(none.code(), StatusCode::kOutOfMemory);
    EXPECT_EQ(none.message(), "needs 13312 MiB; 15360 MiB are free, of which 2048 are kept in reserve");
    EXPECT_FALSE(check_memory(SIZE_MAX, board).ok());
    EXPECT_FALSE(check_memory(1, {.total = 16 * kGiB, .available = kGiB}).ok());
}

}  // namespace
}  // namespace rknpu2
