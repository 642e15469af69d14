#include "ggml/flow_plan.hpp"

#include <algorithm>

#include "ggml/flow_homes.hpp"
#include "ggml/flow_rows.hpp"
#include "ggml/problem_from_tensor.hpp"

namespace rknpu2 {
namespace {

using Kind = FlowStage::Kind;

// Columns of a product, of all weights together: results of a chunk must fit in some tens of megabytes.
constexpr int64_t kMostColumns = 65536;

class Planner {
  public:
    Planner(const Host& host, const ggml_cgraph* graph, int first, int64_t rows)
        : host_(host), graph_(graph), rows_of_(plan_.tensors, rows) {
        plan_.first = plan_.last = first;
        plan_.rows = rows;
    }

    FlowPlan make() {
        // What the graph's last node reads is seen by hosts (llama-imatrix).
        while (plan_.last + 1 < graph_->n_nodes && add(graph_->nodes[plan_.last]))
            ++plan_.last;
        finish();
        return std::move(plan_);
    }

  private:
    bool add(ggml_tensor* node) {
        if (is_no_op(node)) return true;
        if (multiplies_on_npu(host_, node)) return add_product(node);
        FlowNode place;
        if (!rows_of_.place(node, place)) return false;
        return node->op == GGML_OP_FLASH_ATTN_EXT ? add_attention(place) : add_to_pass(place);
    }

    int last_stage() const { return static_cast<int>(plan_.stages.size()) - 1; }

    // The last stage, if it is a pass that more can be added to, or a new one behind it.
    FlowStage& open_pass() {
        const bool open = !plan_.stages.empty() && plan_.stages.back().kind == Kind::kPass;
        if (!open) {
            FlowStage pass;
            if (!plan_.stages.empty() && plan_.stages.back().kind == Kind::kProduct) {
                pass.product_before = static_cast<int>(plan_.products.size()) - 1;
            }
            plan_.stages.push_back(pass);
            if (pass.product_before >= 0) {
                for (const ggml_tensor* const product : plan_.products.back())
                    note(product, last_stage());
            }
        }
        return plan_.stages.back();
    }

    // A node that writes what another stage reads as a whole cannot be part of the flow.
    bool may_write(const FlowNode& place) const {
        return place.dim != kWhole || !read_.contains(memory_of(place.node));
    }

    // Those that write what it reads as a whole, and the last stage of which one is.
    int find_writers(const FlowNode& place, std::vector<const ggml_tensor*>& writers) const {
        int stage = -1;
        for (const ggml_tensor* const source : place.node->src) {
            const auto writer = source == nullptr ? written_.end() : written_.find(memory_of(source));
            if (writer == written_.end()) continue;
            writers.push_back(writer->second.node);
            stage = std::max(stage, writer->second.stage);
        }
        return stage;
    }

    bool add_to_pass(const FlowNode& place) {
        std::vector<const ggml_tensor*> writers;
        // A pass does not wait for other chunks.
        if (!may_write(place) || find_writers(place, writers) >= 0) return false;
        open_pass().nodes.push_back(place);
        note_all(place, last_stage());
        if (place.dim == kWhole) written_[memory_of(place.node)] = {place.node, last_stage()};
        return true;
    }

    bool add_attention(const FlowNode& place) {
        if (!plan_.stages.empty() && plan_.stages.back().kind == Kind::kProduct) open_pass();
        FlowStage stage;
        stage.kind = Kind::kAttention;
        stage.nodes.push_back(place);
        stage.after = find_writers(place, stage.writers);
        plan_.stages.push_back(stage);
        note_all(place, last_stage());
        return true;
    }

    bool add_product(ggml_tensor* node) {
        const ggml_tensor* const activations = node->src[1];
        const bool joins = !plan_.stages.empty() && plan_.stages.back().kind == Kind::kProduct &&
                           plan_.products.back()[0]->src[1] == activations;
        if (!rows_of_.is_matrix(node) || rows_of_.dim_of(activations, 1) != 1) return false;
        int64_t columns = node->ne[0];
        if (joins) {
            for (const ggml_tensor* const other : plan_.products.back())
                columns += other->ne[0];
        }
        if (columns > kMostColumns) return false;
        if (!joins) {
            FlowStage& pass = open_pass();
            pass.product_after = static_cast<int>(plan_.products.size());
            note(activations, last_stage());
            FlowStage stage;
            stage.kind = Kind::kProduct;
            plan_.stages.push_back(stage);
            plan_.products.emplace_back();
        }
        plan_.products.back().push_back(node);
        rows_of_.compute(node, 1);
        return true;
    }

    // The stage writes or reads the tensor.
    void note(const ggml_tensor* tensor, int stage) {
        const auto found = plan_.tensors.find(memory_of(tensor));
        if (found == plan_.tensors.end()) return;
        FlowTensor& at = found->second;
        if (at.first_stage < 0) at.first_stage = stage;
        at.last_stage = std::max(at.last_stage, stage);
    }

    void note_all(const FlowNode& place, int stage) {
        if (place.dim != kWhole) rows_of_.compute(place.node, place.dim);
        note(place.node, stage);
        for (size_t i = 0; i < place.source_dims.size(); ++i) {
            const ggml_tensor* const source = place.node->src[i];
            if (source == nullptr) continue;
            note(source, stage);
            if (place.source_dims[i] == kWhole) read_.insert({memory_of(source), stage});
        }
    }

    void finish() {
        // Views at the end belong to what comes next.
        while (plan_.last > plan_.first && is_no_op(graph_->nodes[plan_.last - 1]))
            --plan_.last;
        if (!plan_.stages.empty() && plan_.stages.back().kind == Kind::kProduct) open_pass();
        if (plan_.worth_it()) find_homes(host_, graph_, written_, plan_);
    }

    const Host& host_;
    const ggml_cgraph* const graph_;
    FlowPlan plan_;
    FlowRows rows_of_;
    // Memory outside, such as a cache, that is written, by which node and stage; and what is read as a whole.
    WrittenMemory written_;
    std::unordered_map<const ggml_tensor*, int> read_;
};

}  // namespace

FlowPlan plan_flow(const Host& host, const ggml_cgraph* graph, int first, int64_t rows) {
    return Planner(host, graph, first, rows).make();
}

}  // namespace rknpu2
