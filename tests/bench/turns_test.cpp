// SPDX-License-Identifier: MIT
// Times of things that take turns.
#include "turns.hpp"

#include <gmock/gmock.h>

#include <string>

namespace rknpu2 {
namespace {

TEST(Turns, EachBodyHasItsTurnInEachRoundAndTheFirstIsNotCounted) {
    std::string order;
    const auto seconds = take_turns({[&] { order += 'a'; }, [&] { order += 'b'; }}, 3, CLOCK_MONOTONIC);
    EXPECT_EQ(order, "abbaabba");  // whoever goes first changes
    EXPECT_THAT(seconds, testing::ElementsAre(testing::SizeIs(3), testing::SizeIs(3)));
}

TEST(Turns, AThreadsTimeIsItsOwn) {
    timespec pause{0, 20'000'000};
    const auto seconds = take_turns({[&] { nanosleep(&pause, nullptr); }}, 2, CLOCK_THREAD_CPUTIME_ID);
    EXPECT_LT(seconds[0][0], 0.01);
    EXPECT_GE(take_turns({[&] { nanosleep(&pause, nullptr); }}, 1, CLOCK_MONOTONIC)[0][0], 0.02);
}

TEST(Turns, QuantilesAndRatios) {
    EXPECT_EQ(median({3, 1, 2}), 2);
    EXPECT_EQ(quantile({3, 1, 2}, 0), 1);
    EXPECT_EQ(quantile({3, 1, 2}, 1), 3);
    EXPECT_THAT(ratios({6, 4}, {2, 4}), testing::ElementsAre(3, 1));
}

}  // namespace
}  // namespace rknpu2
