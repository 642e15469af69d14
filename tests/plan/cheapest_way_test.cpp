// SPDX-License-Identifier: MIT
#include "plan/cheapest_way.hpp"

#include <gtest/gtest.h>

#include "support/random.hpp"

namespace rknpu2 {
namespace {

constexpr double kWake = 75;

// What a choice takes; infinite where it may not be. Written the slow way: from the beginning.
double time_of(const std::vector<WayPoint>& points, const std::vector<Target>& targets) {
    double us = 0;
    bool awake = false;
    for (size_t i = 0; i < points.size(); ++i) {
        const WayPoint& point = points[i];
        if (targets[i] == Target::kNpu) {
            us += point.may_npu ? point.npu_us : HUGE_VAL;
            awake = false;
        } else {
            us += point.may_cpu ? point.cpu_us : HUGE_VAL;
            if (point.by_team && !awake) us += kWake;
            awake |= point.by_team;
        }
    }
    return us;
}

double best_time(const std::vector<WayPoint>& points) {
    double best = HUGE_VAL;
    for (size_t bits = 0; bits < size_t{1} << points.size(); ++bits) {
        std::vector<Target> targets;
        for (size_t i = 0; i < points.size(); ++i)
            targets.push_back((bits >> i & 1) != 0 ? Target::kNpu : Target::kCpu);
        best = std::min(best, time_of(points, targets));
    }
    return best;
}

TEST(CheapestWay, NoOtherChoiceTakesLess) {
    std::mt19937 random(7);
    const auto draw = [&](int most) { return std::uniform_int_distribution<int>(0, most)(random); };
    for (int round = 0; round < 2000; ++round) {
        std::vector<WayPoint> points(static_cast<size_t>(draw(9)));
        for (WayPoint& point : points) {
            point.npu_us = draw(200);
            point.cpu_us = draw(200);
            point.by_team = draw(3) != 0;
            const int fixed = draw(5);
            point.may_npu = fixed != 0;
            point.may_cpu = fixed != 1;
        }
        EXPECT_DOUBLE_EQ(time_of(points, cheapest_way(points, kWake)), best_time(points))
            << "round " << round;
    }
}

TEST(CheapestWay, OneSmallMatrixIsNotWorthWakingTheThreads) {
    const WayPoint ours{.npu_us = 100, .cpu_us = 300};
    const WayPoint theirs{.npu_us = 100, .cpu_us = 60};
    const std::vector<WayPoint> one = {ours, theirs, ours};
    EXPECT_EQ(cheapest_way(one, kWake), (std::vector{Target::kNpu, Target::kNpu, Target::kNpu}));
    const std::vector<WayPoint> two = {ours, theirs, theirs, ours};
    EXPECT_EQ(cheapest_way(two, kWake),
              (std::vector{Target::kNpu, Target::kCpu, Target::kCpu, Target::kNpu}));
    // Experts that are the CPU's have woken them.
    const WayPoint experts{.may_npu = false};
    const std::vector<WayPoint> after = {ours, experts, theirs, ours};
    EXPECT_EQ(cheapest_way(after, kWake),
              (std::vector{Target::kNpu, Target::kCpu, Target::kCpu, Target::kNpu}));
}

TEST(CheapestWay, NothingIsNowhere) {
    EXPECT_TRUE(cheapest_way({}, kWake).empty());
}

}  // namespace
}  // namespace rknpu2
