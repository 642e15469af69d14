// SPDX-License-Identifier: MIT
// Decides who computes the nodes of a graph.
#pragma once

#include <vector>

#include "ggml/host/host.hpp"
#include "ggml/node/decision.hpp"

namespace rknpu2 {

// Fills `decisions`: one for each node of the graph. What needs the machine's memory to be looked at
// (experts) is decided once for each weight. Any thread.
void decide_nodes(Host& host, const ggml_cgraph* graph, std::vector<NodeDecision>& decisions);

}  // namespace rknpu2
