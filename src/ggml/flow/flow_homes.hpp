// SPDX-License-Identifier: MIT
// Where the results of a flow live: in the graph's memory if somebody outside may read them, else in a
// chunk's or a thread's own.
#pragma once

#include "ggml/flow/flow_outside.hpp"
#include "ggml/flow/flow_plan.hpp"

namespace rknpu2 {

// Fills the homes and offsets of plan.tensors, whose stages are known, and plan.copied_out. The graph must
// know its uses. False: two results that outlive the flow lie in the same memory, so no order of chunks is
// right.
[[nodiscard]] bool find_homes(const GgmlFunctions& ggml, const ggml_cgraph* graph, const FlowOutside& outside,
                              FlowPlan& plan);

}  // namespace rknpu2
