#include "ggml/flow_homes.hpp"

#include <algorithm>
#include <unordered_set>

#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

using Home = FlowTensor::Home;
using Tensors = std::unordered_set<const ggml_tensor*>;

// So that four rows fill whole cache lines.
constexpr size_t kRowAlignment = 16;

bool knows_uses(const ggml_cgraph* graph) {
    return graph->use_counts != nullptr && graph->visited_hash_set.size > 0;
}

// Results of the flow that nodes outside, or the host, may read, directly or as views.
Tensors find_escaping(const ggml_cgraph* graph, const FlowPlan& plan) {
    std::unordered_map<const ggml_tensor*, int> uses;
    for (int i = plan.first; i < plan.last; ++i) {
        for (const ggml_tensor* const source : graph->nodes[i]->src)
            if (source != nullptr) ++uses[source];
    }
    Tensors escaping;
    for (int i = plan.first; i < plan.last; ++i) {
        const ggml_tensor* const node = graph->nodes[i];
        if (!plan.tensors.contains(memory_of(node))) continue;
        const bool inside = knows_uses(graph) && (node->flags & GGML_TENSOR_FLAG_OUTPUT) == 0 &&
                            ggml_node_get_use_count(graph, i) == uses[node];
        if (!inside) escaping.insert(memory_of(node));
    }
    return escaping;
}

bool overlap(const Host& host, const ggml_tensor* a, const ggml_tensor* b) {
    const auto* const a_data = static_cast<const std::byte*>(a->data);
    const auto* const b_data = static_cast<const std::byte*>(b->data);
    return a_data < b_data + host.ggml.ggml_nbytes(b) && b_data < a_data + host.ggml.ggml_nbytes(a);
}

// Memory that chunks read and write in the graph's own memory, `tensor` not counted.
bool is_shared(const Host& host, const ggml_tensor* tensor, const Tensors& touched) {
    return std::any_of(touched.begin(), touched.end(), [&](const ggml_tensor* other) {
        return memory_of(other) != tensor && overlap(host, tensor, other);
    });
}

size_t room_of(const FlowTensor& tensor) {
    return round_up(tensor.row_bytes, kRowAlignment);
}

// First fit: what is needed at the same stage does not overlap.
size_t place_in_chunk(std::vector<FlowTensor*> tensors) {
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

void find_homes(const Host& host, const ggml_cgraph* graph, const WrittenMemory& written, FlowPlan& plan) {
    const Tensors escaping = find_escaping(graph, plan);
    Tensors touched = escaping;
    for (const auto& [memory, writer] : written)
        touched.insert(memory);
    for (int i = plan.first; i < plan.last; ++i) {
        for (const ggml_tensor* const source : graph->nodes[i]->src) {
            if (source != nullptr && !plan.tensors.contains(memory_of(source))) touched.insert(source);
        }
    }
    std::vector<FlowTensor*> in_chunk;
    // In the order of the nodes, so that offsets are the same every time.
    for (int i = plan.first; i < plan.last; ++i) {
        const auto found = plan.tensors.find(graph->nodes[i]);
        if (found == plan.tensors.end()) continue;
        FlowTensor& tensor = found->second;
        const bool escapes = escaping.contains(found->first);
        tensor.copied_out = escapes && is_shared(host, found->first, touched);
        FlowStage& stage = plan.stages[static_cast<size_t>(tensor.first_stage)];
        if (escapes && !tensor.copied_out) {
            tensor.home = Home::kGraph;
        } else if (!escapes && tensor.first_stage == tensor.last_stage &&
                   stage.kind == FlowStage::Kind::kPass) {
            tensor.home = Home::kBlock;
            tensor.offset = stage.block_bytes;
            stage.block_bytes += room_of(tensor);
        } else {
            tensor.home = Home::kChunk;
            if (tensor.copied_out) tensor.last_stage = static_cast<int>(plan.stages.size());
            in_chunk.push_back(&tensor);
        }
    }
    plan.chunk_bytes = place_in_chunk(std::move(in_chunk));
}

}  // namespace rknpu2
