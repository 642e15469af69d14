// SPDX-License-Identifier: MIT
// The nodes of a stage, as a graph of its own for some rows: copies of tensors that show these rows only,
// wherever they are.
//
// The host's CPU backend gets this graph. It sees the nodes' old neighbours, so it fuses what it would have
// fused. One thread makes and uses an object; it can be used for other rows again.
#pragma once

#include <deque>
#include <vector>

#include "ggml/flow/flow_plan.hpp"
#include "ggml/host/host_tensor.hpp"

namespace rknpu2 {

// Some rows of a flow, and the memory of their chunk and block. Those of attention are of one stream.
struct FlowBlock {
    int64_t first = 0;  // row
    int64_t count = 0;
    std::byte* chunk = nullptr;
    int64_t chunk_first = 0;  // row
    int64_t chunk_room = 0;   // rows that the chunk's memory is for
    std::byte* block = nullptr;
    int64_t block_room = 0;
};

// Returns element 0 of the block's first row of `tensor`, whose dimension `dim` counts rows; kWhole: of its first
// row. A tensor from outside that has several streams shows the block's.
std::byte* rows_at(const FlowPlan& plan, const ggml_tensor* tensor, int dim, const FlowBlock& block);

class RowsGraph {
  public:
    // Makes the graph of the stage's nodes. The plan must stay, and what the host has.
    RowsGraph(const GgmlFunctions& ggml, const FlowPlan& plan, const FlowStage& stage);
    RowsGraph(const RowsGraph&) = delete;
    RowsGraph& operator=(const RowsGraph&) = delete;

    // The graph, for these rows; valid until the next call. Null if there are no nodes.
    ggml_cgraph* show(const FlowBlock& block);

  private:
    struct Copy {
        const ggml_tensor* original = nullptr;
        int dim = kWhole;
        int64_t parts = 1;  // rows of the tensor for each row of the flow
        HostTensor tensor;
    };

    ggml_tensor* copy_of(const ggml_tensor* original, int dim);
    size_t add_key(ggml_tensor* tensor);
    void count_uses(const FlowStage& stage);

    const GgmlFunctions& ggml_;
    const FlowPlan& plan_;
    std::deque<Copy> copies_;  // pointers to them are kept
    std::vector<ggml_tensor*> nodes_;
    std::vector<ggml_tensor*> keys_;
    std::vector<ggml_bitset_t> used_;
    std::vector<int32_t> uses_;
    ggml_cgraph graph_{};
};

}  // namespace rknpu2
