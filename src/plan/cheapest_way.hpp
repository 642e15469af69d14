// SPDX-License-Identifier: MIT
// Which of a graph's multiplications are the NPU's and which the CPU's, so that the graph takes the least time.
//
// The CPU's threads sleep while the NPU multiplies. A multiplication that they share after one of the NPU's pays for
// waking them, so a single small matrix is not worth leaving the NPU for. Attention of a long context may wake them, too;
// that is left out, here and in the model of docs/performance.md.
//
// Pure arithmetic: the shortest way through two states, NPU and CPU.
#pragma once

#include <span>
#include <vector>

#include "plan/policy.hpp"

namespace rknpu2 {

// Multiplications that are computed at once.
struct WayPoint {
    double npu_us = 0;
    double cpu_us = 0;
    bool may_npu = true;
    bool may_cpu = true;
    bool by_team = true;  // on the CPU all threads share it; else one does, and wakes nobody
};

// One of the targets kNpu and kCpu for each of them, in their order. `wake_us`: what it takes to wake the threads.
// At the beginning they sleep. At equal times the NPU has it.
std::vector<Target> cheapest_way(std::span<const WayPoint> points, double wake_us);

}  // namespace rknpu2
