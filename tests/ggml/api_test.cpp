// SPDX-License-Identifier: MIT
// Our declarations of ggml (src/ggml/api) against the headers of the ggml that the build was told of.
#include <gtest/gtest.h>

#include "ggml/api_table.hpp"
#include "ggml/host/abi.hpp"

namespace rknpu2::test {
namespace {

TEST(Api, OurDeclarationsAreGgmls) {
    const std::vector<ApiFact> ours = our_api();
    const std::vector<ApiFact> theirs = ggmls_api();
    ASSERT_EQ(ours.size(), theirs.size());
    for (size_t i = 0; i < ours.size(); ++i) {
        EXPECT_EQ(ours[i].value, theirs[i].value) << ours[i].name;
        EXPECT_EQ(ours[i].bytes, theirs[i].bytes) << ours[i].name;
    }
}

// Sizes that others have measured, of both layouts.
TEST(Api, TheTwoLayouts) {
    const Abi& newer = kAbis[0];
    const Abi& older = kAbis[1];
    EXPECT_EQ(newer.graph(), 96U);
    EXPECT_EQ(older.graph(), 88U);
    EXPECT_EQ(newer.buffer_table(), 88U);
    EXPECT_EQ(older.buffer_table(), 72U);
    EXPECT_EQ(newer.backend_table(), 128U);
    EXPECT_EQ(older.backend_table(), 112U);
}

}  // namespace
}  // namespace rknpu2::test
