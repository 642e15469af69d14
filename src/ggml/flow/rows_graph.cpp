// SPDX-License-Identifier: MIT
#include "ggml/flow/rows_graph.hpp"

#include "ggml/host/uses.hpp"

namespace rknpu2 {

std::byte* rows_at(const FlowPlan& plan, const ggml_tensor* tensor, int dim, const FlowBlock& block) {
    const auto found = plan.tensors.find(memory_of(tensor));
    if (found == plan.tensors.end()) {
        const int64_t stream = tensor->ne[3] > 1 ? block.first / plan.stream_rows : 0;
        return row_of<std::byte>(tensor, 0, 0, stream) +
               (dim == kWhole
                    ? 0
                    : static_cast<size_t>(block.first - stream * plan.stream_rows) * tensor->nb[dim]);
    }
    const FlowTensor& memory = found->second;
    auto* home = static_cast<std::byte*>(tensor->data);
    int64_t first = 0;  // row there
    if (memory.home == FlowTensor::Home::kChunk) {
        home = block.chunk + memory.offset * static_cast<size_t>(block.chunk_room) + tensor->view_offs;
        first = block.chunk_first;
    } else if (memory.home == FlowTensor::Home::kBlock) {
        home = block.block + memory.offset * static_cast<size_t>(block.block_room) + tensor->view_offs;
        first = block.first;
    }
    return home + static_cast<size_t>(block.first - first) * memory.row_bytes;
}

RowsGraph::RowsGraph(const GgmlFunctions& ggml, const FlowPlan& plan, const FlowStage& stage)
    : ggml_(ggml), plan_(plan) {
    for (const RowMap& mapped : stage.nodes) {
        ggml_tensor* const node = copy_of(mapped.node, mapped.dim);
        for (size_t i = 0; i < mapped.source_dims.size(); ++i)
            if (mapped.node->src[i] != nullptr)
                node->src[i] = copy_of(mapped.node->src[i], mapped.source_dims[i]);
        nodes_.push_back(node);
    }
    count_uses(stage);
}

// One copy for each way to look at a tensor, so that nodes stay each other's sources.
ggml_tensor* RowsGraph::copy_of(const ggml_tensor* original, int dim) {
    for (Copy& copy : copies_)
        if (copy.original == original && copy.dim == dim) return copy.tensor.get();
    const auto found = plan_.tensors.find(memory_of(original));
    const bool computed = dim != kWhole && found != plan_.tensors.end();
    const size_t parts = computed ? found->second.row_bytes / original->nb[dim] : 1;
    copies_.push_back({original, dim, static_cast<int64_t>(parts), HostTensor(ggml_, *original)});
    return copies_.back().tensor.get();
}

// Where the tensor's key is in the graph's hash set, or is put. There is always a free one.
size_t RowsGraph::add_key(ggml_tensor* tensor) {
    const size_t index = key_index(graph_.visited_hash_set, tensor);
    ggml_bitset_set(used_.data(), index);
    keys_[index] = tensor;
    return index;
}

// The CPU backend looks at use counts before it fuses two nodes.
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
        add_key(node);
        for (ggml_tensor* const source : node->src)
            if (source != nullptr) ++uses_[add_key(source)];
    }
    // Who reads a view reads what it is a view of: in the host's graph the view is a node that does.
    for (const Copy& view : copies_) {
        if (view.original->view_src == nullptr) continue;
        for (Copy& base : copies_)
            if (base.original == memory_of(view.original)) ++uses_[add_key(base.tensor.get())];
    }
    // What others read, too, must be written.
    const ggml_tensor* const quantised =
        stage.group_after < 0 ? nullptr : memory_of(plan_.activations_of(stage.group_after));
    for (Copy& copy : copies_) {
        const auto found = plan_.tensors.find(copy.original);
        if (found == plan_.tensors.end()) continue;
        if (found->second.home == FlowTensor::Home::kBlock && found->first != quantised) continue;
        ++uses_[add_key(copy.tensor.get())];
    }
}

ggml_cgraph* RowsGraph::show(const FlowBlock& block) {
    if (nodes_.empty()) return nullptr;
    for (Copy& copy : copies_) {
        const bool has_streams = copy.original->ne[3] > 1;
        if (copy.dim == kWhole && !has_streams) continue;
        ggml_tensor* const shown = copy.tensor.get();
        shown->data = rows_at(plan_, copy.original, copy.dim, block);
        if (has_streams) shown->ne[3] = 1;
        if (copy.dim == kWhole) continue;
        shown->ne[copy.dim] = block.count * copy.parts;
        for (int d = copy.dim + 1; d < GGML_MAX_DIMS; ++d) {
            // Further out are only dimensions of one element, or heads of queries.
            if (shown->ne[d] == 1) shown->nb[d] = shown->nb[d - 1] * static_cast<size_t>(shown->ne[d - 1]);
        }
    }
    return &graph_;
}

}  // namespace rknpu2
