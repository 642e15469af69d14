// SPDX-License-Identifier: MIT
#include "ggml/flow/flow_homes.hpp"
#include "ggml/host/uses.hpp"

#include <algorithm>
#include <unordered_set>

#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

using Home = FlowTensor::Home;

// So that four rows fill whole cache lines.
constexpr size_t kRowAlignment = 16;

// Returns the results of the flow that nodes outside, or the host, may read, directly or as views. Among them
// is a result that no node reads: allocators keep its memory for the host.
std::unordered_set<const ggml_tensor*> find_escaping(const ggml_cgraph* graph, const FlowPlan& plan) {
    std::unordered_map<const ggml_tensor*, int> uses;
    for (int i = plan.first; i < plan.last; ++i) {
        for (const ggml_tensor* const source : graph->nodes[i]->src)
            if (source != nullptr) ++uses[source];
    }
    std::unordered_set<const ggml_tensor*> escaping;
    for (int i = plan.first; i < plan.last; ++i) {
        const ggml_tensor* const node = graph->nodes[i];
        if (!plan.tensors.contains(memory_of(node))) continue;
        const int inside = uses[node];
        const bool stays =
            inside > 0 && uses_of(graph, node) == inside && (node->flags & GGML_TENSOR_FLAG_OUTPUT) == 0;
        if (!stays) escaping.insert(memory_of(node));
    }
    return escaping;
}

size_t room_of(const FlowTensor& tensor) {
    return round_up(tensor.row_bytes, kRowAlignment);
}

// First fit: results that are needed at the same stage do not overlap. Returns the bytes for each row of all.
size_t find_offsets(std::vector<FlowTensor*> tensors) {
    std::sort(tensors.begin(), tensors.end(), [](const FlowTensor* a, const FlowTensor* b) {
        return a->first_stage != b->first_stage ? a->first_stage < b->first_stage
                                                : a->row_bytes > b->row_bytes;
    });
    size_t total = 0;
    std::vector<const FlowTensor*> alive;
    for (FlowTensor* const tensor : tensors) {
        std::erase_if(alive,
                      [&](const FlowTensor* other) { return other->last_stage < tensor->first_stage; });
        std::sort(alive.begin(), alive.end(),
                  [](const FlowTensor* a, const FlowTensor* b) { return a->offset < b->offset; });
        size_t offset = 0;
        for (const FlowTensor* const other : alive) {
            if (offset + room_of(*tensor) <= other->offset) break;
            offset = std::max(offset, other->offset + room_of(*other));
        }
        tensor->offset = offset;
        total = std::max(total, offset + room_of(*tensor));
        alive.push_back(tensor);
    }
    return total;
}

}  // namespace

bool find_homes(const GgmlFunctions& ggml, const ggml_cgraph* graph, const FlowOutside& outside,
                FlowPlan& plan) {
    const auto escaping = find_escaping(graph, plan);
    std::vector<MemoryRange> results;  // in the graph's memory
    std::vector<FlowTensor*> in_chunk;
    // In the order of the nodes, so that offsets are the same every time.
    for (int i = plan.first; i < plan.last; ++i) {
        const ggml_tensor* const node = graph->nodes[i];
        const auto found = plan.tensors.find(node);
        if (found == plan.tensors.end()) continue;
        FlowTensor& tensor = found->second;
        FlowStage& stage = plan.stages[static_cast<size_t>(tensor.first_stage)];
        if (escaping.contains(node)) {
            const MemoryRange range = range_of(ggml, node);
            const auto is_there = [&](const MemoryRange& other) { return overlap(range, other); };
            if (std::any_of(results.begin(), results.end(), is_there)) return false;
            results.push_back(range);
            if (outside.may_write(range)) continue;
            // Other chunks have still to read what is there.
            plan.copied_out.push_back(node);
            tensor.last_stage = static_cast<int>(plan.stages.size());
        } else if (tensor.first_stage == tensor.last_stage && stage.kind == FlowStage::Kind::kPass) {
            tensor.home = Home::kBlock;
            tensor.offset = stage.block_bytes;
            stage.block_bytes += room_of(tensor);
            continue;
        }
        tensor.home = Home::kChunk;
        in_chunk.push_back(&tensor);
    }
    plan.chunk_bytes = find_offsets(std::move(in_chunk));
    return true;
}

}  // namespace rknpu2
