// SPDX-License-Identifier: MIT
#include "ggml/flow/flow_plan.hpp"
#include "ggml/host/uses.hpp"

#include <algorithm>

#include "ggml/flow/flow_homes.hpp"
#include "ggml/flow/row_maps.hpp"

namespace rknpu2 {
namespace {

using Kind = FlowStage::Kind;

// Columns of a product, of all weights together: three chunks of at most 127 rows have 100 MB of results
// then.
constexpr int64_t kMostColumns = 65536;

// Sources of attention.
constexpr int kKeys = 1;
constexpr int kValues = 2;

class Planner {
  public:
    Planner(const Host& host, const ggml_cgraph* graph, std::span<const NodeDecision> decisions, int first,
            int64_t rows)
        : ggml_(host.ggml), graph_(graph), decisions_(decisions), rows_of_(host.ggml, plan_.tensors, rows) {
        plan_.first = plan_.last = first;
        plan_.rows = rows;
    }

    FlowPlan make() {
        // What the graph's last node reads is seen by hosts (llama-imatrix).
        while (knows_uses(graph_) && plan_.last + 1 < graph_->n_nodes && add(plan_.last))
            ++plan_.last;
        // Views at the end belong to what comes next.
        while (plan_.last > plan_.first && is_no_op(ggml_.op(graph_->nodes[plan_.last - 1])))
            --plan_.last;
        if (ends_with_product()) open_pass();
        if (plan_.worth_it() && !find_homes(ggml_, graph_, outside_, plan_)) plan_.products.clear();
        return std::move(plan_);
    }

  private:
    bool add(int index) {
        ggml_tensor* const node = graph_->nodes[index];
        const Target target = decisions_[static_cast<size_t>(index)].target;
        if (target == Target::kNone) return true;
        if (target == Target::kNpu && ggml_.op(node) == Op::kMatMul) return add_product(node);
        RowMap mapped;
        if (target == Target::kNpu || !rows_of_.map(node, mapped)) return false;
        return ggml_.op(node) == Op::kFlashAttention ? add_attention(mapped) : add_to_pass(mapped);
    }

    int last_stage() const { return static_cast<int>(plan_.stages.size()) - 1; }
    bool ends_with_product() const {
        return !plan_.stages.empty() && plan_.stages.back().kind == Kind::kProduct;
    }
    // Is its memory not the flow's own?
    bool is_outside(const ggml_tensor* tensor) const { return !plan_.tensors.contains(memory_of(tensor)); }

    // Does the node read memory outside that the flow writes, and does not wait for it?
    bool reads_what_is_written(const ggml_tensor* node) const {
        for (int i = 0; i < GGML_MAX_SRC; ++i) {
            const ggml_tensor* const source = node->src[i];
            const bool waits = ggml_.op(node) == Op::kFlashAttention && (i == kKeys || i == kValues);
            if (source == nullptr || waits || !is_outside(source)) continue;
            if (outside_.is_written(range_of(ggml_, source))) return true;
        }
        return false;
    }

    // Enters what the node of a stage does to memory outside, and that the stage uses the flow's own.
    void note(const ggml_tensor* node, int stage) {
        for (const ggml_tensor* const source : node->src)
            if (source != nullptr) note_read(source, stage);
        if (is_outside(node)) {
            outside_.writes.push_back({range_of(ggml_, node), node, stage});
        } else {
            used_in(node, stage);
        }
    }

    void note_read(const ggml_tensor* source, int stage) {
        if (is_outside(source)) {
            outside_.reads.push_back(range_of(ggml_, source));
        } else {
            used_in(source, stage);
        }
    }

    void used_in(const ggml_tensor* tensor, int stage) {
        FlowTensor& at = plan_.tensors.at(memory_of(tensor));
        if (at.first_stage < 0) at.first_stage = stage;
        at.last_stage = std::max(at.last_stage, stage);
    }

    // The last stage, if it is a pass that more can be added to, or a new one behind it.
    FlowStage& open_pass() {
        if (!plan_.stages.empty() && plan_.stages.back().kind == Kind::kPass) return plan_.stages.back();
        const bool behind_product = ends_with_product();
        FlowStage& pass = plan_.stages.emplace_back();
        if (behind_product) {
            pass.product_before = static_cast<int>(plan_.products.size()) - 1;
            for (const ggml_tensor* const matmul : plan_.products.back())
                used_in(matmul, last_stage());
        }
        return pass;
    }

    bool add_to_pass(const RowMap& mapped) {
        const bool writes_outside = mapped.dim == kWhole;
        // A pass does not wait for other chunks.
        if (reads_what_is_written(mapped.node)) return false;
        if (writes_outside && !outside_.may_write(range_of(ggml_, mapped.node))) return false;
        open_pass().nodes.push_back(mapped);
        if (!writes_outside) rows_of_.compute(mapped.node, mapped.dim);
        note(mapped.node, last_stage());
        return true;
    }

    bool add_attention(const RowMap& mapped) {
        if (reads_what_is_written(mapped.node)) return false;
        if (ends_with_product()) open_pass();
        FlowStage stage;
        stage.kind = Kind::kAttention;
        stage.nodes.push_back(mapped);
        for (const int operand : {kKeys, kValues}) {
            const ggml_tensor* const shown = mapped.node->src[operand];
            for (const FlowOutside::Write& write : outside_.writes) {
                if (!overlap(write.range, range_of(ggml_, shown))) continue;
                stage.cache_reads.push_back({write.node, shown});
                stage.after = std::max(stage.after, write.stage);
                auto& writers = plan_.stages[static_cast<size_t>(write.stage)].cache_writers;
                if (std::find(writers.begin(), writers.end(), write.node) == writers.end())
                    writers.push_back(write.node);
            }
        }
        plan_.stages.push_back(std::move(stage));
        rows_of_.compute(mapped.node, mapped.dim);
        note(mapped.node, last_stage());
        return true;
    }

    bool add_product(ggml_tensor* node) {
        const ggml_tensor* const activations = node->src[1];
        const bool joins = ends_with_product() && plan_.products.back().front()->src[1] == activations;
        if (!rows_of_.is_matrix(node) || rows_of_.dim_of(activations, 1) != 1) return false;
        if (reads_what_is_written(node)) return false;
        columns_ = node->ne[0] + (joins ? columns_ : 0);
        if (columns_ > kMostColumns) return false;
        if (!joins) {
            open_pass().product_after = static_cast<int>(plan_.products.size());
            plan_.stages.emplace_back().kind = Kind::kProduct;
            plan_.products.emplace_back();
        }
        plan_.products.back().push_back(node);
        rows_of_.compute(node, 1);
        // The activations are quantised by the pass; the results are written by the next one.
        note_read(node->src[0], last_stage());
        note_read(activations, last_stage() - 1);
        return true;
    }

    const GgmlFunctions& ggml_;
    const ggml_cgraph* const graph_;
    const std::span<const NodeDecision> decisions_;
    FlowPlan plan_;
    RowMaps rows_of_;
    FlowOutside outside_;
    int64_t columns_ = 0;  // of the last product
};

}  // namespace

FlowPlan plan_flow(const Host& host, const ggml_cgraph* graph, std::span<const NodeDecision> decisions,
                   int first, int64_t rows) {
    return Planner(host, graph, decisions, first, rows).make();
}

}  // namespace rknpu2
