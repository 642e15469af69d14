// SPDX-License-Identifier: MIT
// Where the results of a flow live, and what it reads and writes in memory that is not its own: caches and
// other states, weights, inputs.
#pragma once

#include "ggml/flow/flow_plan.hpp"
#include "ggml/node/access.hpp"

namespace rknpu2 {

// Chunks of a flow are at different stages, so the order of two accesses to the same memory is not that of
// their nodes. What was read must not be written later on, whether it was read as a whole or row by row,
// since other rows are still to be read. What was written must not be written again, and is read only by
// attention, which waits (FlowStage::after).
struct FlowOutside {
    struct Write {
        MemoryRange range;
        const ggml_tensor* node = nullptr;
        int stage = -1;
    };
    std::vector<MemoryRange> reads;
    std::vector<Write> writes;  // in the order of their nodes

    bool is_written(const MemoryRange& range) const {
        for (const Write& write : writes)
            if (overlap(write.range, range)) return true;
        return false;
    }
    bool may_write(const MemoryRange& range) const {
        for (const MemoryRange& read : reads)
            if (overlap(read, range)) return false;
        return !is_written(range);
    }
};

// Fills the homes and offsets of plan.tensors, whose stages are known, and plan.copied_out: a result lives in
// the graph's memory if somebody outside may read it, else in a chunk's or a thread's own. The graph must
// know its uses. False: two results that outlive the flow lie in the same memory, so no order of chunks is
// right.
[[nodiscard]] bool find_homes(const GgmlFunctions& ggml, const ggml_cgraph* graph, const FlowOutside& outside,
                              FlowPlan& plan);

}  // namespace rknpu2
