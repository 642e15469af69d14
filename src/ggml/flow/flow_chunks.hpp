// SPDX-License-Identifier: MIT
// The chunks into which the rows of a flow are cut: those of each stream, or of some short streams together.
#pragma once

#include <vector>

#include "ggml/flow/flow_plan.hpp"
#include "matmul/npu_flow.hpp"

namespace rknpu2 {

// The rows of a chunk with which the flow is fastest, by the model: kFlowChunkRows .. kMaxFlowRows.
int64_t best_chunk_rows(const Host& host, const FlowPlan& plan);

// Chunks of at most `most` rows, where the last of a stream may have almost twice kFlowChunkRows.
std::vector<FlowChunk> cut_rows(const FlowPlan& plan, int64_t most);

}  // namespace rknpu2
