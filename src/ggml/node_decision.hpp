// Who computes a node of a graph, and why.
#pragma once

#include <vector>

#include "ggml-impl.h"
#include "ggml/host.hpp"
#include "matmul/plan.hpp"
#include "matmul/policy.hpp"
#include "matmul/support.hpp"

namespace rknpu2 {

enum class Target {
    kNone,  // it moves no data: there is nothing to compute
    kCpu,   // the host's CPU backend
    kNpu,   // a multiplication by a stored matrix, or by experts
};

struct NodeDecision {
    Target target = Target::kCpu;
    // Why the NPU can or cannot do a multiplication; any other node keeps the default, which means nothing.
    Reason reason = Reason::kSupported;
    // Where a multiplication by experts that the NPU can do is computed, and why.
    Placement placement;
};

// A multiplication, and what was decided about it.
struct PlannedMatmul {
    ggml_tensor* node = nullptr;
    const NodeDecision* decision = nullptr;
};

// Fills `decisions`: one for each node of the graph. What needs the machine's memory to be looked at
// (experts) is decided once for each weight. Any thread.
void decide_nodes(Host& host, const ggml_cgraph* graph, std::vector<NodeDecision>& decisions);

}  // namespace rknpu2
