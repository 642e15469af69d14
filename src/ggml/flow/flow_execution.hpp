// SPDX-License-Identifier: MIT
// Computes a stretch of a graph with its rows in chunks (flow_plan.hpp).
//
// The calling thread leads: it hands chunks to the NPU when there is room, and has the CPU's team do one
// stage of one chunk at a time. Each chunk is to be some stages ahead of the next (flow_skew()), and the thread takes the
// chunk that is furthest behind this order. So one chunk's multiplications run beside another's attention.
// The results are those of the nodes one by one, bit by bit.
#pragma once

#include "ggml/cpu/inner_cpu.hpp"
#include "ggml/flow/flow_plan.hpp"

namespace rknpu2 {

// What the flows of a backend share; used by one thread.
struct FlowTools {
    Host& host;
    InnerCpu& cpu;
    OneThreadCpus& one_thread_cpus;
    AlignedBuffer chunk_memory = {};  // of a flow that runs; megabytes, so it is kept from flow to flow
    // A flow with longer chunks has found no memory: the results of four chunks are in the NPU's at a time.
    bool has_short_chunks = false;
};

// A flow that finds no memory is tried again with chunks of kFlowChunkRows (counted, and told once for a backend).
// `abort` is asked between stages; its yes leads to kAborted. Returns kUnsupported if a flow needs more than
// there is (counted, and told once): the caller must compute the nodes one by one. It may, whatever chunks
// have done by then: a flow never writes what it has still to read (flow_plan.cpp).
Status run_flow(FlowTools& tools, const FlowPlan& plan, ggml_abort_callback abort, void* abort_data);

}  // namespace rknpu2
