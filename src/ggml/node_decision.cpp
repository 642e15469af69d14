#include "ggml/node_decision.hpp"

#include <algorithm>
#include <utility>

#include "ggml/experts.hpp"
#include "ggml/problem_from_tensor.hpp"

namespace rknpu2 {
namespace {

// Activations, and the kind of multiplication that reads them: those by experts gather rows of them.
using Read = std::pair<const ggml_tensor*, ggml_op>;

Read read_of(const ggml_tensor* node) {
    return {node->src[1], node->op};
}

bool wants_npu(const Host& host, const ggml_tensor* node, ActivationSharing sharing) {
    // What is gathered about weights is about all of them.
    if (host.config.matrices == Matrices::kNpu || host.calibration != nullptr || host.sensitivity != nullptr)
        return true;
    return host.places.of(matrix_call(host, node, sharing), host.config).place == Place::kNpu;
}

void decide_multiplication(Host& host, const ggml_tensor* node, const std::vector<Read>& reads,
                           NodeDecision& decision) {
    const auto [first, last] = std::equal_range(reads.begin(), reads.end(), read_of(node));
    decision.sharing = last - first > 1 ? ActivationSharing::kShared : ActivationSharing::kOwn;
    bool on_npu = false;
    if (node->op == GGML_OP_MUL_MAT_ID) {
        decision.placement = ExpertsProduct::place(host, node);
        on_npu = decision.placement.place == Place::kNpu;
    } else {
        on_npu = wants_npu(host, node, decision.sharing);
    }
    decision.target = on_npu ? Target::kNpu : Target::kCpu;
}

}  // namespace

void decide_nodes(Host& host, const ggml_cgraph* graph, std::vector<NodeDecision>& decisions) {
    decisions.assign(static_cast<size_t>(graph->n_nodes), {});
    std::vector<Read> reads;  // of multiplications that the NPU can do
    for (size_t i = 0; i < decisions.size(); ++i) {
        const ggml_tensor* const node = graph->nodes[i];
        if (is_no_op(node)) decisions[i].target = Target::kNone;
        if (!is_matmul(node)) continue;
        decisions[i].reason = support(describe(host, node));
        if (decisions[i].reason == Reason::kSupported) reads.push_back(read_of(node));
    }
    std::sort(reads.begin(), reads.end());
    for (size_t i = 0; i < decisions.size(); ++i) {
        const ggml_tensor* const node = graph->nodes[i];
        if (is_matmul(node) && decisions[i].reason == Reason::kSupported)
            decide_multiplication(host, node, reads, decisions[i]);
    }
}

}  // namespace rknpu2
