// SPDX-License-Identifier: MIT
// The chunks into which the rows of a flow are cut: those of each stream, or of some short streams together.
#pragma once

#include <vector>

#include "ggml/flow/flow_plan.hpp"
#include "matmul/npu_flow.hpp"

namespace rknpu2 {

std::vector<FlowChunk> cut_rows(const Host& host, const FlowPlan& plan);

}  // namespace rknpu2
