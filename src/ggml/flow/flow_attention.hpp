// SPDX-License-Identifier: MIT
// A chunk's attention with the NPU, in one of the places that a flow has for them, stream by stream.
#pragma once

#include <optional>

#include "ggml/cpu/attention_on_npu.hpp"
#include "ggml/flow/rows_graph.hpp"
#include "matmul/npu_flow.hpp"

namespace rknpu2 {

class FlowAttention {
  public:
    FlowAttention(Host& host, OneThreadCpus& one_thread_cpus, const FlowPlan& plan, NpuFlow& flow,
                  NpuAttention& attention, size_t place)
        : host_(host), plan_(plan), flow_(flow), node_(host, one_thread_cpus, attention, place) {}

    bool is_open() const { return graph_.has_value(); }
    size_t chunk() const { return chunk_; }

    // The place must be free. `rows`: of the chunk.
    Status begin(size_t stage, size_t chunk, const FlowBlock& rows, int domain);
    // As those of NpuAttention.
    bool may_step() const { return is_open() && node_.may_step(); }
    Result<bool> step();

  private:
    bool begin_stream();

    Host& host_;
    const FlowPlan& plan_;
    NpuFlow& flow_;
    NodeAttention node_;
    size_t stage_ = 0;
    size_t chunk_ = 0;
    int domain_ = 0;
    FlowBlock rows_;   // of the stream
    int64_t end_ = 0;  // of the chunk's
    std::optional<RowsGraph> graph_;
};

// How many contexts the flow's attentions on the NPU need.
size_t contexts_of_attention(const FlowPlan& plan, const Config& config);

// How many stages each of the flow's chunks is to be ahead of the next one.
int64_t skew_of_chunks(const FlowPlan& plan, size_t chunks);

}  // namespace rknpu2
