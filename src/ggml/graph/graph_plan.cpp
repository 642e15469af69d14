// SPDX-License-Identifier: MIT
#include "ggml/graph/graph_plan.hpp"
#include "ggml/host/uses.hpp"

#include <algorithm>

#include "ggml/cpu/gated_epilogue.hpp"
#include "ggml/graph/experts.hpp"
#include "ggml/graph/placement.hpp"
#include "ggml/node/access.hpp"
#include "ggml/node/attention.hpp"
#include "ggml/node/describe.hpp"
#include "matmul/npu_flow.hpp"
#include "plan/cost_model.hpp"

namespace rknpu2 {
namespace {

NodeDecision decide(Host& host, const ggml_tensor* node) {
    NodeDecision decision;
    const Op op = host.ggml.op(node);
    if (!host.ggml.computes(node)) {
        decision.target = Target::kNone;
        return decision;
    }
    if (op == Op::kFlashAttention) {
        decision.attention = choose_attention(host, node);
        if (decision.attention == AttentionReason::kOnNpu) decision.target = Target::kNpu;
    }
    if (!is_matmul(op)) return decision;
    decision.reason = support(describe(host, node));
    if (decision.reason != Reason::kSupported) return decision;
    if (op == Op::kMatMulExperts) {
        decision.choice = experts_choice(host, node);
        decision.target = decision.choice.target;
        return decision;
    }
    decision.target = Target::kNpu;  // unless place_matrices() says otherwise
    return decision;
}

// Diagnostics look at single multiplications, whose operands a flow does not keep.
bool flows_are_possible(const Host& host) {
    return host.config.fuse && host.calibration == nullptr && host.sensitivity == nullptr &&
           host.checksums == nullptr && NpuFlow::possible(host.config);
}

class StepPlanner {
  public:
    // Steps are added to `steps`, ends of stretches to `stops`. The plan's decisions must be there.
    StepPlanner(const Host& host, const GraphPlan& plan, std::vector<Step>& steps,
                std::vector<FlowStop>& stops)
        : host_(host), ggml_(host.ggml), plan_(plan), steps_(steps), stops_(stops) {}

    void make(int first, int last, bool flows) {
        last_ = last;
        int no_flow_before = flows ? first : last;
        for (int i = first; i < last;) {
            const int next = i >= no_flow_before ? add_flow(i, no_flow_before) : i;
            i = next > i ? next : add_step(i);
        }
    }

  private:
    ggml_tensor* node(int i) const { return plan_.graph->nodes[i]; }
    Target target(int i) const { return plan_.decisions[static_cast<size_t>(i)].target; }
    bool is_product(int i) const { return target(i) == Target::kNpu && ggml_.op(node(i)) == Op::kMatMul; }

    bool is_attention(int i) const {
        return target(i) == Target::kNpu && ggml_.op(node(i)) == Op::kFlashAttention;
    }

    // Returns the first node that is not planned then: `first` if no flow begins here.
    int add_flow(int first, int& no_flow_before) {
        int product = first;
        while (product < last_ && !is_product(product))
            ++product;
        // A flow has the rows of its first multiplication.
        const int64_t rows = product < last_ ? node(product)->ne[1] : 0;
        no_flow_before = product + 1;
        if (rows < kFewestFlowRows) return first;
        FlowPlan flow = plan_flow(host_, plan_.graph, plan_.decisions, first, rows);
        no_flow_before = std::max(flow.last, first + 1);
        const bool known = !stops_.empty() && stops_.back().node == flow.stop.node;
        if (!known && flow.stop.why != FlowStop::Why::kGraph) stops_.push_back(flow.stop);
        if (!flow.worth_it()) return first;
        Step& step = begin(Step::Kind::kFlow, first);
        step.last = flow.last;
        step.flow = std::move(flow);
        activations_ = {};
        return step.last;
    }

    // Returns the first node that is not planned then.
    int add_step(int first) {
        if (target(first) == Target::kNone) return first + 1;
        if (is_product(first)) return add_group(first);
        if (is_attention(first)) return add_attention(first);
        if (target(first) == Target::kNpu) return add_experts(first);
        return add_to_cpu(first);
    }

    Step& begin(Step::Kind kind, int first) {
        Step& step = steps_.emplace_back();
        step.kind = kind;
        step.first = step.last = first;
        return step;
    }

    void add_member(Step& step, int i) {
        step.members.push_back(node(i));
        step.last = i + 1;
    }

    bool may_join(const Step& step, int i) const {
        return std::none_of(step.members.begin(), step.members.end(),
                            [&](const ggml_tensor* member) { return conflict(ggml_, member, node(i)); });
    }

    int add_group(int first) {
        Step& step = begin(Step::Kind::kGroup, first);
        add_member(step, first);
        const bool alone = !host_.config.fuse || host_.config.precision == Precision::kReference;
        for (int i = first + 1; !alone && i < last_; ++i) {
            if (target(i) == Target::kNone) continue;
            if (!is_product(i) || node(i)->src[1] != node(first)->src[1] || !may_join(step, i)) break;
            add_member(step, i);
        }
        add_gate(step);
        // Has the group before read the same numbers? Then: does this one overwrite them?
        const MemoryRange read = range_of(ggml_, node(first)->src[1]);
        step.same_activations = host_.config.fuse && !activations_.empty() && activations_ == read;
        activations_ = read;
        note_writes(step.first, step.last);
        return step.last;
    }

    // The two products need not be written: only the gate reads them, and neither is an output of the graph.
    // The graph's last node is no gate, since hosts look at its operands. Rows of the gate are written while
    // the activations and weights of others are still read.
    void add_gate(Step& step) {
        int at = step.last;
        while (at < last_ && target(at) == Target::kNone)
            ++at;
        if (step.members.size() != 2 || at + 1 >= plan_.graph->n_nodes || at >= last_ ||
            !knows_uses(plan_.graph))
            return;
        ggml_tensor* const gate = node(at);
        if (!is_gate_of(ggml_, gate, step.members[0], step.members[1])) return;
        for (int i = step.first; i < step.last; ++i) {
            if (!is_product(i)) continue;
            for (const ggml_tensor* const operand : node(i)->src)
                if (operand != nullptr && writes(ggml_, gate, range_of(ggml_, operand))) return;
            const bool seen_by_others = node(i)->view_src != nullptr || uses_of(plan_.graph, node(i)) != 1 ||
                                        (node(i)->flags & GGML_TENSOR_FLAG_OUTPUT) != 0;
            if (seen_by_others) return;
        }
        step.gate = gate;
        step.last = at + 1;
    }

    void note_writes(int first, int last) {
        for (int i = first; i < last && !activations_.empty(); ++i)
            if (writes(ggml_, node(i), activations_)) activations_ = {};
    }

    int add_attention(int i) {
        Step& step = begin(Step::Kind::kAttention, i);
        add_member(step, i);
        note_writes(i, i + 1);
        return step.last;
    }

    int add_experts(int first) {
        Step& step = begin(Step::Kind::kExperts, first);
        add_member(step, first);
        for (int i = first + 1;
             host_.config.fuse && i < last_ && target(i) == Target::kNpu && !is_attention(i); ++i) {
            if (!choose_alike(ggml_, node(first), node(i)) || !may_join(step, i)) break;
            add_member(step, i);
        }
        note_writes(step.first, step.last);
        return step.last;
    }

    // Behind what the CPU computes already, or a step of its own. A weight may be computed from a copy that
    // is made when its step begins: the step must not write the weight before.
    int add_to_cpu(int i) {
        const bool open = !steps_.empty() && steps_.back().kind == Step::Kind::kCpu;
        Step& step = open && !writes_weight_of(steps_.back(), i) ? steps_.back() : begin(Step::Kind::kCpu, i);
        step.last = i + 1;
        note_writes(i, i + 1);
        return step.last;
    }

    bool writes_weight_of(const Step& step, int i) const {
        if (!has_copy(ggml_, node(i), plan_.decisions[static_cast<size_t>(i)])) return false;
        const MemoryRange weight = range_of(ggml_, node(i)->src[0]);
        const auto* const nodes = plan_.graph->nodes;
        return std::any_of(nodes + step.first, nodes + i,
                           [&](const ggml_tensor* earlier) { return writes(ggml_, earlier, weight); });
    }

    const Host& host_;
    const GgmlFunctions& ggml_;
    const GraphPlan& plan_;
    std::vector<Step>& steps_;
    std::vector<FlowStop>& stops_;
    int last_ = 0;
    MemoryRange activations_;  // of the last group, if they still hold what it read; else empty
};

// Has it so many tokens that it could be part of a flow?
bool is_of_prompt(const GgmlFunctions& ggml, const ggml_tensor* node) {
    return node->ne[ggml.op(node) == Op::kMatMulExperts ? 2 : 1] >= kFewestFlowRows;
}

}  // namespace

void plan_graph(Host& host, ggml_cgraph* graph, GraphPlan& plan) {
    plan.graph = graph;
    plan.steps.clear();
    plan.decisions.clear();
    plan.stops.clear();
    plan.prompt_products = 0;
    bool is_refused = false;
    for (int i = 0; i < graph->n_nodes; ++i) {
        const ggml_tensor* const node = graph->nodes[i];
        const NodeDecision& decision = plan.decisions.emplace_back(decide(host, node));
        is_refused |= decision.attention == AttentionReason::kNoRoom;
        if (decision.target == Target::kNpu && is_matmul(host.ggml.op(node)) && is_of_prompt(host.ggml, node))
            ++plan.prompt_products;
    }
    if (is_refused) host.attention_refusals.count_graph();
    plan.first_time = place_matrices(host, graph, plan.decisions);
    StepPlanner(host, plan, plan.steps, plan.stops).make(0, graph->n_nodes, flows_are_possible(host));
}

std::vector<Step> steps_without_flow(const Host& host, const Step& flow, const GraphPlan& plan) {
    std::vector<Step> steps;
    std::vector<FlowStop> stops;
    StepPlanner(host, plan, steps, stops).make(flow.first, flow.last, false);
    return steps;
}

}  // namespace rknpu2
