// SPDX-License-Identifier: MIT
#include "ggml/graph/graph_plan.hpp"

#include <algorithm>

#include "ggml/cpu/gated_epilogue.hpp"
#include "ggml/graph/decide_nodes.hpp"
#include "ggml/graph/experts.hpp"
#include "ggml/node/access.hpp"
#include "matmul/npu_flow.hpp"
#include "plan/cost_model.hpp"

namespace rknpu2 {
namespace {

// Diagnostics look at single multiplications, whose operands a flow does not keep.
bool flows_are_possible(const Host& host) {
    return host.config.fuse && host.calibration == nullptr && host.sensitivity == nullptr &&
           host.checksums == nullptr && NpuFlow::possible(host.config);
}

class StepPlanner {
  public:
    // Members go into the plan, steps into `steps`.
    StepPlanner(const Host& host, GraphPlan& plan, std::vector<Step>& steps)
        : host_(host),
          ggml_(host.ggml),
          plan_(plan),
          steps_(steps),
          groups_(host.config.fuse && host.config.precision != Precision::kReference) {}

    void make(int first, int last, bool flows) {
        last_ = last;
        int no_flow_before = flows ? first : last;
        for (int i = first; i < last;) {
            const int begun = i;
            if (i >= no_flow_before) i = add_flow(i, no_flow_before);
            if (i > begun) continue;
            i = add_step(i);
        }
    }

  private:
    ggml_tensor* node(int i) const { return plan_.graph->nodes[i]; }
    const NodeDecision& decision(int i) const { return plan_.decisions[static_cast<size_t>(i)]; }
    bool is_product(int i) const {
        return decision(i).target == Target::kNpu && node(i)->op == GGML_OP_MUL_MAT;
    }

    // Returns the first node that is not planned then: `first` if no flow begins here.
    int add_flow(int first, int& no_flow_before) {
        int product = first;
        while (product < last_ && !is_product(product))
            ++product;
        const int64_t rows = product < last_ ? node(product)->ne[1] : 0;
        // A flow has the rows of its first multiplication.
        no_flow_before = product + 1;
        if (rows < kFewestFlowRows) return first;
        FlowPlan flow = plan_flow(host_, plan_.graph, plan_.decisions, first, rows);
        no_flow_before = std::max(flow.last, first + 1);
        if (!flow.worth_it()) return first;
        Step& step = begin(Step::Kind::kFlow, first);
        step.last = flow.last;
        step.flow = plan_.flows.size();
        plan_.flows.push_back(std::move(flow));
        activations_ = {};
        return step.last;
    }

    int add_step(int first) {
        if (decision(first).target == Target::kNone) return first + 1;
        if (is_product(first)) return add_group(first);
        if (decision(first).target == Target::kNpu) return add_experts(first);
        return add_to_cpu(first);
    }

    Step& begin(Step::Kind kind, int first) {
        Step& step = steps_.emplace_back();
        step.kind = kind;
        step.first = first;
        step.last = first + 1;
        step.first_member = step.last_member = plan_.members.size();
        return step;
    }

    void add_member(Step& step, int i) {
        plan_.members.push_back({node(i), &decision(i)});
        ++step.last_member;
        step.last = i + 1;
    }

    // Can node i be computed with the members of the step, all at once?
    bool may_join(const Step& step, int i) const {
        const auto members = plan_.members_of(step);
        return std::none_of(members.begin(), members.end(), [&](const PlannedMatmul& member) {
            return conflict(ggml_, member.node, node(i));
        });
    }

    int add_group(int first) {
        Step& step = begin(Step::Kind::kGroup, first);
        add_member(step, first);
        for (int i = first + 1; groups_ && i < last_; ++i) {
            if (decision(i).target == Target::kNone) continue;
            if (!is_product(i) || node(i)->src[1] != node(first)->src[1] || !may_join(step, i)) break;
            add_member(step, i);
        }
        add_gate(step);
        note_activations(step);
        return step.last;
    }

    // The two products need not be written: only the gate reads them, and neither is an output of the graph.
    // The graph's last node is no gate, since hosts look at its operands. Rows of the gate are written while
    // the activations and weights of others are still read.
    void add_gate(Step& step) {
        const auto members = plan_.members_of(step);
        int at = step.last;
        while (at < last_ && decision(at).target == Target::kNone)
            ++at;
        if (members.size() != 2 || at + 1 >= plan_.graph->n_nodes || at >= last_ || !knows_uses(plan_.graph))
            return;
        ggml_tensor* const gate = node(at);
        if (!GatedEpilogue::fits(gate, members[0].node, members[1].node)) return;
        for (const PlannedMatmul& member : members) {
            for (const ggml_tensor* const operand : member.node->src)
                if (operand != nullptr && writes(ggml_, gate, range_of(ggml_, operand))) return;
        }
        for (int i = step.first; i < at; ++i) {
            const bool member = node(i) == members[0].node || node(i) == members[1].node;
            if (member && !ggml_node_has_n_uses(plan_.graph, i, 1)) return;
        }
        step.gate = gate;
        step.last = at + 1;
    }

    // Whether the group before read the same numbers; then, whether what the group writes spoils them.
    void note_activations(Step& step) {
        const MemoryRange read = range_of(ggml_, plan_.members_of(step).front().node->src[1]);
        step.same_activations = host_.config.fuse && !activations_.empty() && activations_ == read;
        activations_ = read;
        note_writes(step.first, step.last);
    }

    void note_writes(int first, int last) {
        for (int i = first; i < last && !activations_.empty(); ++i) {
            if (writes(ggml_, node(i), activations_)) activations_ = {};
        }
    }

    int add_experts(int first) {
        Step& step = begin(Step::Kind::kExperts, first);
        add_member(step, first);
        for (int i = first + 1; host_.config.fuse && i < last_; ++i) {
            const bool joins = node(i)->op == GGML_OP_MUL_MAT_ID && decision(i).target == Target::kNpu &&
                               ExpertsMultiplication::together(node(first), node(i)) && may_join(step, i);
            if (!joins) break;
            add_member(step, i);
        }
        note_writes(step.first, step.last);
        return step.last;
    }

    // Behind what the CPU computes already, or a step of its own. A stack of experts may be computed from a
    // copy that is made when its step begins: the step must not write the stack before.
    int add_to_cpu(int i) {
        bool open = !steps_.empty() && steps_.back().kind == Step::Kind::kCpu;
        for (int between = i - 1; open && between >= steps_.back().last; --between)
            open = decision(between).target == Target::kNone;
        Step* step = open ? &steps_.back() : &begin(Step::Kind::kCpu, i);
        if (open && node(i)->op == GGML_OP_MUL_MAT_ID && node(i)->src[0] != nullptr) {
            const MemoryRange stack = range_of(ggml_, node(i)->src[0]);
            for (int earlier = step->first; earlier < i; ++earlier) {
                if (!writes(ggml_, node(earlier), stack)) continue;
                step = &begin(Step::Kind::kCpu, i);
                break;
            }
        }
        step->last = i + 1;
        note_writes(i, i + 1);
        return step->last;
    }

    const Host& host_;
    const GgmlFunctions& ggml_;
    GraphPlan& plan_;
    std::vector<Step>& steps_;
    const bool groups_;
    int last_ = 0;
    MemoryRange activations_;  // of the last group, if they still hold what it read; else empty
};

}  // namespace

void plan_graph(Host& host, const ggml_cgraph* graph, GraphPlan& plan) {
    plan.graph = graph;
    plan.steps.clear();
    plan.members.clear();
    plan.flows.clear();
    decide_nodes(host, graph, plan.decisions);
    StepPlanner(host, plan, plan.steps).make(0, graph->n_nodes, flows_are_possible(host));
}

std::vector<Step> steps_without_flow(const Host& host, const Step& flow, GraphPlan& plan) {
    std::vector<Step> steps;
    StepPlanner(host, plan, steps).make(flow.first, flow.last, false);
    return steps;
}

}  // namespace rknpu2
