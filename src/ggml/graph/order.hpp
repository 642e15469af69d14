// SPDX-License-Identifier: MIT
// Brings multiplications by the same activations together in a graph, so that they can be computed at once.
//
// llama.cpp writes Q, then what is done with Q, then K: the three read one matrix, but do not follow each
// other. Before ggml's scheduler gives memory to the results, it asks a backend to put its part of a graph
// into a better order (graph_optimize). Then a later multiplication may come right after the first: it needs
// no more than its weight, which is stored, and the activations.
#pragma once

#include <algorithm>

#include "ggml/node/access.hpp"

namespace rknpu2 {

// Multiplications of one layer are no further apart: a limit for the search in graphs of thousands of nodes.
inline constexpr int kLookAhead = 64;

// Moves each multiplication that `runs_on_npu` says yes to behind the last one before it that reads the same
// tensor, unless it conflicts with a node that it would pass. Everything else keeps its order.
template <typename RunsOnNpu>
void bring_together(const GgmlFunctions& ggml, ggml_cgraph* graph, const RunsOnNpu& runs_on_npu) {
    for (int first = 0; first < graph->n_nodes; ++first) {
        if (!runs_on_npu(graph->nodes[first])) continue;
        const ggml_tensor* const activations = graph->nodes[first]->src[1];
        int next = first + 1;  // where another one goes
        for (int i = next; i < graph->n_nodes && i - next < kLookAhead; ++i) {
            ggml_tensor* const node = graph->nodes[i];
            if (ggml.op(node) != Op::kMatMul || node->src[1] != activations || !runs_on_npu(node)) continue;
            const auto in_the_way = [&](const ggml_tensor* passed) { return conflict(ggml, passed, node); };
            // What is in the way of this one may not be in the way of the next one: another weight.
            if (std::any_of(graph->nodes + next, graph->nodes + i, in_the_way)) continue;
            std::rotate(graph->nodes + next, graph->nodes + i, graph->nodes + i + 1);
            ++next;
        }
        first = next - 1;
    }
}

}  // namespace rknpu2
