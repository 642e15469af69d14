// SPDX-License-Identifier: MIT
// Which attentions are like one that found no room.
#include "attention/refusals.hpp"

#include <gtest/gtest.h>

#include <utility>

namespace rknpu2 {
namespace {

class AttentionRefusalsTest : public ::testing::Test {
  protected:
    AttentionRefusalsTest() {
        problem_.kv_heads = 2;
        problem_.keys.width = 64;
        problem_.values.width = 96;
        problem_.tokens = 128;
        problem_.positions = 700;
    }

    AttentionProblem with(size_t AttentionProblem::*member, size_t value) const {
        AttentionProblem other = problem_;
        other.*member = value;
        return other;
    }
    // Graphs with the problem that are refused until the NPU is tried.
    size_t refused_graphs() {
        size_t graphs = 0;
        for (; graphs < 1000 && refusals_.has(problem_, 0); ++graphs)
            refusals_.count_graph();
        return graphs;
    }

    AttentionRefusals refusals_;
    AttentionProblem problem_;
};

TEST_F(AttentionRefusalsTest, AreOfTheSameHeadsAndAsManyTokensAndPositions) {
    EXPECT_FALSE(refusals_.has(problem_, 0));
    EXPECT_TRUE(refusals_.add(problem_, 0));
    EXPECT_FALSE(refusals_.add(problem_, 0)) << "it is known";
    EXPECT_TRUE(refusals_.has(with(&AttentionProblem::positions, 701), 0));
    EXPECT_FALSE(refusals_.has(with(&AttentionProblem::positions, 699), 0));
    EXPECT_TRUE(refusals_.has(with(&AttentionProblem::tokens, 129), 0));
    EXPECT_FALSE(refusals_.has(with(&AttentionProblem::tokens, 8), 0));
    EXPECT_FALSE(refusals_.has(with(&AttentionProblem::kv_heads, 3), 0));
    AttentionProblem other = problem_;
    std::swap(other.keys.width, other.values.width);
    EXPECT_FALSE(refusals_.has(other, 0));
    EXPECT_FALSE(refusals_.has(problem_, 1)) << "memory was given back";
    EXPECT_TRUE(refusals_.add(other, 1));
    EXPECT_FALSE(refusals_.has(problem_, 1));
}

TEST_F(AttentionRefusalsTest, TheNpuIsTriedAgainLaterAndLater) {
    EXPECT_TRUE(refusals_.add(problem_, 0));
    for (const size_t graphs : {2, 4, 8, 16, 32, 64, 64}) {
        EXPECT_FALSE(refusals_.add(problem_, 0)) << "another graph's try, which is not counted";
        EXPECT_EQ(refused_graphs(), graphs);
        EXPECT_FALSE(refusals_.add(problem_, 0));
    }
    EXPECT_EQ(refused_graphs(), 64U);
    refusals_.computed(with(&AttentionProblem::tokens, 127));
    EXPECT_FALSE(refusals_.add(problem_, 0));
    EXPECT_EQ(refused_graphs(), 64U) << "a smaller one says nothing";
    refusals_.computed(with(&AttentionProblem::tokens, 129));
    EXPECT_FALSE(refusals_.add(problem_, 0));
    EXPECT_EQ(refused_graphs(), 2U);
}

TEST_F(AttentionRefusalsTest, SmallerOnesTakeThePlaceOfLargerOnes) {
    EXPECT_TRUE(refusals_.add(problem_, 0));
    EXPECT_EQ(refused_graphs(), 2U);
    EXPECT_FALSE(refusals_.add(with(&AttentionProblem::tokens, 100), 0)) << "heads like these are known";
    EXPECT_EQ(refused_graphs(), 2U);
    EXPECT_FALSE(refusals_.add(with(&AttentionProblem::positions, 600), 0));
    EXPECT_TRUE(refusals_.has(with(&AttentionProblem::positions, 650), 0));
    EXPECT_EQ(refused_graphs(), 2U);
}

}  // namespace
}  // namespace rknpu2
