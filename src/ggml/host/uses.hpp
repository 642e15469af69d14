// SPDX-License-Identifier: MIT
// How often a graph says that its tensors are read.
#pragma once

#include "ggml/api/tensors.hpp"

namespace rknpu2 {

// Does the graph tell how often its nodes are read? Views of a graph have the counts of the whole.
inline bool knows_uses(const ggml_cgraph* graph) {
    return graph->use_counts != nullptr && graph->visited_hash_set.size > 0;
}

// Where the key of `tensor` is in a set, as ggml searches it, or where it would be put. There must be a free place.
inline size_t key_index(const ggml_hash_set& set, const ggml_tensor* tensor) {
    size_t index = ggml_hash(tensor) % set.size;
    while (ggml_bitset_get(set.used, index) && set.keys[index] != tensor)
        index = (index + 1) % set.size;
    return index;
}

// How often `tensor` is a source; 0 for one that the graph does not know. The graph must know its uses.
inline int uses_of(const ggml_cgraph* graph, const ggml_tensor* tensor) {
    const size_t index = key_index(graph->visited_hash_set, tensor);
    return ggml_bitset_get(graph->visited_hash_set.used, index) ? graph->use_counts[index] : 0;
}

}  // namespace rknpu2
