// SPDX-License-Identifier: MIT
// Computes a stretch of a graph with its rows in chunks (flow_plan.hpp).
//
// The calling thread leads: it hands chunks to the NPU when there is room, and has the CPU's team do one
// stage of one chunk at a time, by whichever chunk is furthest behind in an order where each chunk is some
// stages ahead of the next: so unlike stages meet, one chunk's multiplications and another's attention. The
// results are those of the nodes one by one, bit by bit.
//
// One object for each backend, used by one thread.
#pragma once

#include <memory>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "ggml/cpu/inner_cpu.hpp"
#include "ggml/cpu/one_thread_cpus.hpp"
#include "ggml/flow/flow_plan.hpp"
#include "ggml/flow/flow_waits.hpp"
#include "ggml/flow/rows_graph.hpp"
#include "matmul/npu_flow.hpp"

namespace rknpu2 {

class FlowExecution {
  public:
    FlowExecution(Host& host, InnerCpu& cpu, OneThreadCpus& one_thread_cpus)
        : host_(host), cpu_(cpu), one_thread_cpus_(one_thread_cpus) {}

    // `abort` may be null; it is asked between stages, and kAborted is what it leads to. kUnsupported: a flow
    // needs more than there is (counted, and told once), and the caller must compute the nodes one by one. It
    // may, whatever chunks have done by then: a flow never writes what it has still to read
    // (flow_outside.hpp).
    Status run(const FlowPlan& plan, ggml_abort_callback abort, void* abort_data);

  private:
    struct Progress {
        size_t stage = 0;      // the next one
        bool in_lane = false;  // its product was submitted
    };

    Status begin_and_lead(ggml_abort_callback abort, void* abort_data);
    Status do_without(const Status& failure);
    Status lead(ggml_abort_callback abort, void* abort_data);
    Status all_done() const;
    Status submit_ready();
    bool may_begin(size_t chunk, const FlowStage& stage);
    size_t next_for_cpu();
    Status compute(size_t chunk);
    Status pass(const FlowStage& stage, size_t chunk);
    void clear_cells_of(const FlowStage& stage);
    void pass_blocks(const FlowStage& stage, size_t chunk, std::atomic<size_t>& next);
    void pass_block(const FlowStage& stage, size_t chunk, const FlowBlock& block, RowsGraph& graph,
                    ggml_backend_t backend);
    Status attention(const FlowStage& stage, size_t chunk);
    FlowBlock rows_of(size_t chunk) const;
    void copy_out();

    Host& host_;
    InnerCpu& cpu_;
    OneThreadCpus& one_thread_cpus_;
    // What follows belongs to the running call.
    const FlowPlan* plan_ = nullptr;
    NpuFlow* flow_ = nullptr;
    FlowWaits* waits_ = nullptr;
    std::vector<FlowChunk> chunks_;
    std::vector<Progress> progress_;
    std::vector<char> begun_;  // by stage: some chunk has begun it
    AlignedBuffer memory_;     // of the chunks
    size_t chunk_room_ = 0;    // rows
    enum class Failure { kNone, kCpuBackend, kMemory };
    std::atomic<Failure> failure_{Failure::kNone};
};

}  // namespace rknpu2
