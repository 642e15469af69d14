// SPDX-License-Identifier: MIT
#include "ggml/flow/rows_graph.hpp"

namespace rknpu2 {

std::byte* rows_at(const FlowPlan& plan, const ggml_tensor* tensor, int dim, const FlowBlock& block) {
    const auto found = plan.tensors.find(memory_of(tensor));
    const auto at = [&](std::byte* home, size_t offset, int64_t room, int64_t first) {
        return home + offset * static_cast<size_t>(room) + tensor->view_offs +
               static_cast<size_t>(block.first - first) * tensor->nb[dim];
    };
    if (found != plan.tensors.end()) {
        const FlowTensor& memory = found->second;
        switch (memory.home) {
            case FlowTensor::Home::kChunk:
                return at(block.chunk, memory.offset, block.chunk_room, block.chunk_first);
            case FlowTensor::Home::kBlock:
                return at(block.block, memory.offset, block.block_room, block.first);
            case FlowTensor::Home::kGraph:
                break;
        }
    }
    return static_cast<std::byte*>(tensor->data) + static_cast<size_t>(block.first) * tensor->nb[dim];
}

RowsGraph::RowsGraph(const FlowPlan& plan, const FlowStage& stage) : plan_(plan) {
    copies_.reserve(stage.nodes.size() * (GGML_MAX_SRC + 1));  // pointers to them are kept
    for (const RowMap& mapped : stage.nodes) {
        ggml_tensor* const node = copy_of(mapped.node, mapped.dim);
        for (size_t i = 0; i < mapped.source_dims.size(); ++i) {
            if (mapped.node->src[i] != nullptr)
                node->src[i] = copy_of(mapped.node->src[i], mapped.source_dims[i]);
        }
        nodes_.push_back(node);
    }
    count_uses(stage);
}

// One copy for each way to look at a tensor, so that a node's source is the node before it where it was.
ggml_tensor* RowsGraph::copy_of(const ggml_tensor* original, int dim) {
    for (Copy& copy : copies_) {
        if (copy.original == original && copy.dim == dim) return &copy.tensor;
    }
    return &copies_.emplace_back(Copy{original, dim, *original}).tensor;
}

// As ggml's hash sets are searched. There is always a free key.
size_t RowsGraph::key_index(const ggml_tensor* tensor) {
    size_t index = ggml_hash(tensor) % keys_.size();
    while (ggml_bitset_get(used_.data(), index) && keys_[index] != tensor)
        index = (index + 1) % keys_.size();
    ggml_bitset_set(used_.data(), index);
    keys_[index] = const_cast<ggml_tensor*>(tensor);
    return index;
}

// What the CPU backend asks for before it fuses two nodes.
void RowsGraph::count_uses(const FlowStage& stage) {
    const size_t keys = 4 * copies_.size() + 1;
    keys_.assign(keys, nullptr);
    used_.assign(ggml_bitset_size(keys), 0);
    uses_.assign(keys, 0);
    graph_.visited_hash_set = {keys, used_.data(), keys_.data()};
    graph_.use_counts = uses_.data();
    graph_.nodes = nodes_.data();
    graph_.size = graph_.n_nodes = static_cast<int>(nodes_.size());
    for (ggml_tensor* const node : nodes_) {
        key_index(node);
        for (ggml_tensor* const source : node->src) {
            if (source != nullptr) ++uses_[key_index(source)];
        }
    }
    // What others read, too, must be written.
    const ggml_tensor* const quantised =
        stage.product_after < 0 ? nullptr : memory_of(plan_.activations_of(stage.product_after));
    for (const Copy& copy : copies_) {
        const auto found = plan_.tensors.find(copy.original);
        if (found == plan_.tensors.end()) continue;
        if (found->second.home == FlowTensor::Home::kBlock && found->first != quantised) continue;
        ++uses_[key_index(&copy.tensor)];
    }
}

ggml_cgraph* RowsGraph::show(const FlowBlock& block) {
    if (nodes_.empty()) return nullptr;
    for (Copy& copy : copies_) {
        if (copy.dim == kWhole) continue;
        copy.tensor.data = rows_at(plan_, copy.original, copy.dim, block);
        copy.tensor.ne[copy.dim] = block.count;
        for (int d = copy.dim + 1; d < GGML_MAX_DIMS; ++d) {
            // Behind the rows there is nothing but dimensions of one element, or heads of queries.
            if (copy.tensor.ne[d] == 1)
                copy.tensor.nb[d] = copy.tensor.nb[d - 1] * static_cast<size_t>(copy.tensor.ne[d - 1]);
        }
    }
    return &graph_;
}

}  // namespace rknpu2
