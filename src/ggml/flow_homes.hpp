// Where the results of a flow live: in the graph's memory if somebody outside reads them, else in a chunk's
// or a thread's own.
#pragma once

#include "ggml/flow_plan.hpp"

namespace rknpu2 {

struct Writer {
    const ggml_tensor* node = nullptr;
    int stage = -1;
};
// By the tensor that owns it.
using WrittenMemory = std::unordered_map<const ggml_tensor*, Writer>;

// Fills the homes and offsets of plan.tensors, whose stages are known. `written`: memory outside that the
// flow writes, such as a cache.
void find_homes(const Host& host, const ggml_cgraph* graph, const WrittenMemory& written, FlowPlan& plan);

}  // namespace rknpu2
