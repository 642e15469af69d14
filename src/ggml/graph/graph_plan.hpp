// SPDX-License-Identifier: MIT
// The plan of a graph: who computes each node, why, and in which steps. It is made once, before anything is
// computed. Whoever does something with the graph (execution, weights loaded ahead, sensitivity) reads it.
//
// A step is a stretch of nodes that is computed at once. Steps follow each other in the order of the nodes
// and cover all that compute something. Nodes share a step only where none conflicts with another
// (access.hpp), or where the kind of the step keeps the conflict: the CPU's nodes are computed in their
// order, a gate comes behind its two operands, and attention waits for what it sees of a cache
// (cache_cells.hpp).
//
// With GGML_RKNPU2_FUSE=0 every multiplication is a step of its own: the plain way, which all others are
// compared with, bit by bit.
//
// A plan is made from the tensors alone. It is valid until the graph, or the memory of its tensors, changes.
#pragma once

#include <optional>
#include <vector>

#include "ggml/flow/flow_plan.hpp"

namespace rknpu2 {

struct Step {
    enum class Kind {
        kCpu,        // all nodes, as one graph for the host's CPU backend
        kGroup,      // plain multiplications by the same activations, and maybe their gate
        kExperts,    // multiplications that choose among experts alike
        kAttention,  // one attention, its products on the NPU
        kFlow,       // rows go through many nodes in chunks (flow_plan.hpp)
    };
    Kind kind = Kind::kCpu;
    int first = 0, last = 0;            // nodes of the graph: first .. last - 1
    std::vector<ggml_tensor*> members;  // kGroup, kExperts: the multiplications; kAttention: the node
    // kGroup: the node that is computed from the results of its two multiplications, which are then not
    // written. Null: there is none.
    ggml_tensor* gate = nullptr;
    // kGroup: its activations are the very numbers that the group before it has read, so their quantised form
    // may be used again.
    bool same_activations = false;
    std::optional<FlowPlan> flow;  // kFlow
};

struct GraphPlan {
    ggml_cgraph* graph = nullptr;
    std::vector<NodeDecision> decisions;  // by node of the graph
    std::vector<Step> steps;
    // Where stretches of many rows end before the graph does, those that are too short to flow among them.
    std::vector<FlowStop> stops;
    size_t prompt_products = 0;  // nodes that the NPU multiplies, of so many rows that they could flow
    // A plain matrix was not packed when the plan was made, and GGML_RKNPU2_MATRICES=auto (placement.hpp).
    bool first_time = false;

    // By node of the step.
    std::span<const NodeDecision> decisions_of(const Step& step) const {
        return {decisions.data() + step.first, decisions.data() + step.last};
    }
};

// Fills `plan`, whose memory is used again. Asks for the machine's memory once for each stack of experts. One
// thread for each plan.
void plan_graph(Host& host, ggml_cgraph* graph, GraphPlan& plan);

// Returns the steps that compute the nodes of a flow, a step of the plan, one after the other.
std::vector<Step> steps_without_flow(const Host& host, const Step& flow, const GraphPlan& plan);

}  // namespace rknpu2
