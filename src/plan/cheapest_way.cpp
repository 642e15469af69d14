// SPDX-License-Identifier: MIT
#include "plan/cheapest_way.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace rknpu2 {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// Do the CPU's threads sleep, or are they at work?
enum State : size_t { kAsleep, kAwake, kStates };

// The least time until then, and how it was come by.
struct Arrival {
    double us = kNever;
    State from = kAsleep;
    Target target = Target::kNpu;

    void offer(double other_us, State other_from, Target other_target) {
        if (other_us < us) *this = {other_us, other_from, other_target};
    }
};
using Arrivals = std::array<Arrival, kStates>;

Arrivals next(const Arrivals& before, const WayPoint& point, double wake_us) {
    Arrivals after;
    for (const State from : {kAsleep, kAwake}) {
        const double us = before[from].us;
        if (point.may_npu) after[kAsleep].offer(us + point.npu_us, from, Target::kNpu);
        if (!point.may_cpu) continue;
        const State to = point.by_team ? kAwake : from;
        const double woken_us = point.by_team && from == kAsleep ? wake_us : 0;
        after[to].offer(us + point.cpu_us + woken_us, from, Target::kCpu);
    }
    return after;
}

}  // namespace

std::vector<Target> cheapest_way(std::span<const WayPoint> points, double wake_us) {
    std::vector<Arrivals> arrivals(1);
    arrivals.front()[kAsleep].us = 0;
    for (const WayPoint& point : points)
        arrivals.push_back(next(arrivals.back(), point, wake_us));
    std::vector<Target> targets(points.size());
    const Arrivals& last = arrivals.back();
    State state = last[kAwake].us < last[kAsleep].us ? kAwake : kAsleep;
    for (size_t i = points.size(); i > 0; --i) {
        const Arrival& arrival = arrivals[i][state];
        targets[i - 1] = arrival.target;
        state = arrival.from;
    }
    return targets;
}

}  // namespace rknpu2
