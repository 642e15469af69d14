// SPDX-License-Identifier: MIT
#include "base/status.hpp"

#include <gtest/gtest.h>

namespace rknpu2 {
namespace {

Status fails() {
    return {StatusCode::kOutOfMemory, "no 12 bytes"};
}

Status passes_on() {
    RKNPU2_RETURN_IF_ERROR(Status());
    RKNPU2_RETURN_IF_ERROR(fails().with_context("packing w"));
    return Status();
}

TEST(Status, CarriesContextUpward) {
    const Status status = passes_on();
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(status.code(), StatusCode::kOutOfMemory);
    EXPECT_EQ(status.to_string(), "out of memory: packing w: no 12 bytes");
}

TEST(Status, OkHasNoMessageAndIgnoresContext) {
    const Status status = Status().with_context("anything");
    EXPECT_TRUE(status.ok());
    EXPECT_EQ(status.message(), "");
}

TEST(Result, HoldsEither) {
    Result<int> value = 7;
    ASSERT_TRUE(value.ok());
    EXPECT_TRUE(value.status().ok());
    EXPECT_EQ(value.take(), 7);
    const Result<int> failure = fails();
    EXPECT_FALSE(failure.ok());
    EXPECT_EQ(failure.status().code(), StatusCode::kOutOfMemory);
}

}  // namespace
}  // namespace rknpu2
