// SPDX-License-Identifier: MIT
#include "ggml/flow/flow_attention.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace rknpu2 {

Status FlowAttention::begin(size_t stage, size_t chunk, const FlowBlock& rows, int domain) {
    RKNPU2_RETURN_IF_ERROR(flow_.begin_other_runs());
    stage_ = stage;
    chunk_ = chunk;
    domain_ = domain;
    rows_ = rows;
    end_ = rows.first + rows.count;
    rows_.count = 0;
    graph_.emplace(host_.ggml, plan_, plan_.stages[stage]);
    begin_stream();
    return {};
}

// False: there are no more.
bool FlowAttention::begin_stream() {
    rows_.first += rows_.count;
    if (rows_.first == end_) return false;
    rows_.count = std::min(end_ - rows_.first, plan_.stream_rows - rows_.first % plan_.stream_rows);
    const auto streams = static_cast<uint64_t>(plan_.rows / plan_.stream_rows);
    const auto stream = static_cast<uint64_t>(rows_.first / plan_.stream_rows);
    node_.begin(graph_->show(rows_)->nodes[0], stage_ * streams + stream, domain_);
    return true;
}

Result<bool> FlowAttention::step() {
    if (RKNPU2_TAKE(node_.step())) return true;
    if (begin_stream()) return true;
    graph_.reset();
    flow_.end_other_runs();
    return false;
}

int64_t skew_of_chunks(const FlowPlan& plan, size_t chunks) {
    int64_t least = flow_skew(chunks, 0, 1);
    for (const FlowStage& stage : plan.stages) {
        if (!stage.on_npu()) continue;
        const ggml_tensor* const keys = stage.nodes[0].node->src[1];
        const ggml_tensor* const values = stage.nodes[0].node->src[2];
        const auto blocks = ceil_div(static_cast<size_t>(keys->ne[1]), kAttentionBlock);
        const AttentionSizes sizes(static_cast<size_t>(keys->ne[2]), static_cast<size_t>(keys->ne[0]),
                                   static_cast<size_t>(values->ne[0]));
        least = std::min(least, flow_skew(chunks, blocks, sizes.block()));
    }
    return least;
}

size_t contexts_of_attention(const FlowPlan& plan, const Config& config) {
    std::set<std::pair<int64_t, int64_t>> widths;  // of keys and values
    for (const FlowStage& stage : plan.stages)
        if (stage.on_npu())
            widths.emplace(stage.nodes[0].node->src[1]->ne[0], stage.nodes[0].node->src[2]->ne[0]);
    return widths.size() * attention_contexts(static_cast<size_t>(config.cores));
}

}  // namespace rknpu2
