// SPDX-License-Identifier: MIT
// What is measured beside other load, by a clock that the test moves.
#include "ggml/cpu/repeats.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "plan/rates_of_board.hpp"

namespace rknpu2 {
namespace {

bool any(const std::vector<double>&) {
    return true;
}

// Times of work whose i-th repeat takes us_of(i).
template <typename UsOf, typename Enough>
std::vector<double> times_of(const UsOf& us_of, const Enough& enough, double before_us = 0) {
    double clock = 1e9;
    size_t repeats = 0;
    const auto work = [&] {
        clock += us_of(repeats++);
        return Status();
    };
    auto times = repeat([&] { return clock; }, [&] { clock += before_us; }, work, enough);
    EXPECT_TRUE(times.ok());
    return times.value();
}

TEST(Repeats, WhatOthersComputeNowAndThenIsNotInTheLeast) {
    const auto disturbed = [](size_t i) { return i % 4 == 3 ? 100.0 : 700.0 + static_cast<double>(i); };
    EXPECT_EQ(std::ranges::min(times_of(disturbed, any)), 100);
    EXPECT_EQ(std::ranges::min(times_of([](size_t) { return 300.0; }, any)), 300)
        << "what all repeats have stays";
}

TEST(Repeats, TheFirstTwoAndWhatIsDoneBeforeAreLeftOut) {
    const std::vector<double> times = times_of([](size_t i) { return i < 2 ? 1.0 : 50.0; }, any, 2000);
    EXPECT_EQ(times, std::vector<double>(15, 50));
}

TEST(Repeats, ThereAreFewOfWhatTakesLong) {
    EXPECT_EQ(times_of([](size_t) { return 10.0; }, any).size(), 15U);
    EXPECT_EQ(times_of([](size_t) { return 1e4; }, any).size(), 8U) << "a tenth of a second";
    EXPECT_EQ(times_of([](size_t) { return 1e6; }, any).size(), 5U);
}

// Repeats that differ are more, until a quarter of them are near the least; else nobody may believe them.
TEST(Repeats, MoreAreMadeWhileTheyDiffer) {
    const auto often = [](size_t i) {
        return i >= 17 && i % 2 == 0 ? 100.0 : 1000.0 + 600 * static_cast<double>(i);
    };
    const std::vector<double> settled = times_of(often, least_is_credible);
    EXPECT_GT(settled.size(), 15U);
    EXPECT_LT(settled.size(), 45U);
    EXPECT_TRUE(least_is_credible(settled));
    const auto once = [](size_t i) { return i == 20 ? 100.0 : 1000.0; };
    const std::vector<double> never = times_of(once, [](const auto&) { return false; });
    EXPECT_EQ(never.size(), 45U);
    EXPECT_FALSE(least_is_credible(never));
}

TEST(Repeats, AFailureIsTheResult) {
    const auto fail = [] { return Status(StatusCode::kDeviceError, "broken"); };
    EXPECT_FALSE(repeat([] { return 0.0; }, [] {}, fail, any).ok());
}

}  // namespace
}  // namespace rknpu2
