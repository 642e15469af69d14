// SPDX-License-Identifier: MIT
// The plan of a graph: who computes each node, why, and in which steps. Decided once, before anything is
// computed; whoever does something with the graph (execution, weights loaded ahead, sensitivity, checksums)
// reads it here.
//
// A step is a stretch of nodes that is computed at once: by the CPU, as one or several multiplications by the
// same activations, as multiplications that choose among experts alike, or as a flow whose rows go through
// many nodes in chunks. Steps follow each other in the order of the nodes and cover all that compute
// something. Nodes share a step only where none conflicts with another (node_access.hpp), or where the kind
// of the step keeps the conflict: the CPU's nodes are computed in their order, a gate comes behind its two
// operands, and attention waits for what it sees of a cache (flow_plan.hpp).
//
// With GGML_RKNPU2_FUSE=0 every multiplication is a step of its own: the plain way, which all others are
// compared with, bit by bit.
//
// A plan is made from the tensors alone. It is valid until the graph, or the memory of its tensors, changes.
#pragma once

#include <span>
#include <vector>

#include "ggml-impl.h"
#include "ggml/flow/flow_plan.hpp"
#include "ggml/host/host.hpp"
#include "ggml/node/decision.hpp"

namespace rknpu2 {

struct Step {
    enum class Kind {
        kCpu,      // all nodes, as one graph for the host's CPU backend
        kGroup,    // plain multiplications by the same activations, and maybe their gate
        kExperts,  // multiplications that choose among experts alike
        kFlow,
    };
    Kind kind = Kind::kCpu;
    int first = 0, last = 0;  // nodes of the graph: first .. last - 1
    // kGroup, kExperts: multiplications first_member .. last_member - 1 of the plan's members.
    size_t first_member = 0, last_member = 0;
    // kGroup: the node that is computed from the results of its two multiplications, which are then not
    // written. Null: there is none.
    ggml_tensor* gate = nullptr;
    // kGroup: its activations are the very numbers that the group before it has read, so their quantised form
    // may be used again.
    bool same_activations = false;
    size_t flow = 0;  // kFlow: index into the plan's flows
};

struct GraphPlan {
    const ggml_cgraph* graph = nullptr;
    std::vector<NodeDecision> decisions;  // by node of the graph
    std::vector<Step> steps;
    std::vector<PlannedMatmul> members;  // of all groups of multiplications
    std::vector<FlowPlan> flows;

    std::span<const PlannedMatmul> members_of(const Step& step) const {
        return {members.data() + step.first_member, step.last_member - step.first_member};
    }
};

// Fills `plan`, whose memory is used again. One thread for each plan.
void plan_graph(Host& host, const ggml_cgraph* graph, GraphPlan& plan);

// The steps that compute the nodes of a flow one after the other. Their members are put behind those of the
// plan; its own steps and its decisions stay.
std::vector<Step> steps_without_flow(const Host& host, const Step& flow, GraphPlan& plan);

}  // namespace rknpu2
