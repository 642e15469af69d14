// SPDX-License-Identifier: MIT
// Which attentions are like one that found no room.
#include "attention/refusals.hpp"

#include <gtest/gtest.h>

#include <utility>

namespace rknpu2 {
namespace {

TEST(AttentionRefusalsTest, AreOfTheSameHeadsAndAsManyPositions) {
    AttentionRefusals refusals;
    AttentionProblem problem;
    problem.kv_heads = 2;
    problem.keys.width = 64;
    problem.values.width = 96;
    problem.positions = 700;
    EXPECT_FALSE(refusals.has(problem, 0));
    EXPECT_TRUE(refusals.add(problem, 0));
    EXPECT_FALSE(refusals.add(problem, 0)) << "it is known";
    const auto has_with = [&](size_t AttentionProblem::*member, size_t value) {
        AttentionProblem other = problem;
        other.*member = value;
        return refusals.has(other, 0);
    };
    EXPECT_TRUE(has_with(&AttentionProblem::positions, 701));
    EXPECT_FALSE(has_with(&AttentionProblem::positions, 699));
    EXPECT_FALSE(has_with(&AttentionProblem::kv_heads, 3));
    AttentionProblem other = problem;
    std::swap(other.keys.width, other.values.width);
    EXPECT_FALSE(refusals.has(other, 0));
    EXPECT_FALSE(refusals.has(problem, 1)) << "memory was given back";
    EXPECT_TRUE(refusals.add(other, 1));
    EXPECT_FALSE(refusals.has(problem, 1));
}

}  // namespace
}  // namespace rknpu2
