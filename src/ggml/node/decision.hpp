// SPDX-License-Identifier: MIT
// Who computes a node of a graph, and why.
#pragma once

#include "plan/policy.hpp"
#include "plan/support.hpp"

namespace rknpu2 {

struct NodeDecision {
    Target target = Target::kCpu;
    // Why the NPU can or cannot do a multiplication; any other node keeps the default, which means nothing.
    Reason reason = Reason::kSupported;
    // Where a multiplication by experts that the NPU can do is computed, and why.
    TargetChoice choice;
};

}  // namespace rknpu2
