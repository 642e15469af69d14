// SPDX-License-Identifier: MIT
#include "ggml/graph/decide_nodes.hpp"

#include "ggml/graph/experts.hpp"
#include "ggml/node/describe.hpp"

namespace rknpu2 {
namespace {

bool wants_npu(const Host& host, const ggml_tensor* node) {
    // What is gathered about weights is about all of them.
    if (host.config.matrices == Matrices::kNpu || host.calibration != nullptr || host.sensitivity != nullptr)
        return true;
    return host.targets.of(matrix_call(host, node), host.config).target == Target::kNpu;
}

NodeDecision decide(Host& host, const ggml_tensor* node) {
    NodeDecision decision;
    if (is_no_op(node)) decision.target = Target::kNone;
    if (!is_matmul(node)) return decision;
    decision.reason = support(describe(host, node));
    if (decision.reason != Reason::kSupported) return decision;
    bool on_npu = false;
    if (node->op == GGML_OP_MUL_MAT_ID) {
        decision.choice = ExpertsMultiplication::target(host, node);
        on_npu = decision.choice.target == Target::kNpu;
    } else {
        on_npu = wants_npu(host, node);
    }
    decision.target = on_npu ? Target::kNpu : Target::kCpu;
    return decision;
}

}  // namespace

void decide_nodes(Host& host, const ggml_cgraph* graph, std::vector<NodeDecision>& decisions) {
    decisions.resize(static_cast<size_t>(graph->n_nodes));
    for (size_t i = 0; i < decisions.size(); ++i)
        decisions[i] = decide(host, graph->nodes[i]);
}

}  // namespace rknpu2
