// SPDX-License-Identifier: MIT
#include "ggml/flow/flow_plan.hpp"

#include <algorithm>
#include <unordered_set>

#include "ggml/flow/row_maps.hpp"
#include "ggml/host/uses.hpp"
#include "ggml/node/access.hpp"

namespace rknpu2 {
namespace {

using Kind = FlowStage::Kind;
using Home = FlowTensor::Home;
using Why = FlowStop::Why;

// Columns of a group, of all weights together: four chunks of at most 128 rows have 134 MB of results
// then.
constexpr int64_t kMostColumns = 65536;

constexpr size_t kRowAlignment = 16;  // so that four rows fill whole cache lines

// Sources of attention.
constexpr int kKeys = 1;
constexpr int kValues = 2;

// Chunks of a flow are at different stages, so the order of two accesses to the same memory is not that of
// their nodes. What was read must not be written later on, whether it was read as a whole or row by row,
// since other rows are still to be read. What was written must not be written again, and is read only by
// attention, which waits (FlowStage::after).
struct FlowOutside {
    struct Write {
        MemoryRange range;
        const ggml_tensor* node = nullptr;
        int stage = -1;
    };
    std::vector<MemoryRange> reads;
    std::vector<Write> writes;  // in the order of their nodes

    bool is_written(const MemoryRange& range) const {
        for (const Write& write : writes)
            if (overlap(write.range, range)) return true;
        return false;
    }
    bool may_write(const MemoryRange& range) const {
        for (const MemoryRange& read : reads)
            if (overlap(read, range)) return false;
        return !is_written(range);
    }
};

// Returns the results of the flow that nodes outside, or the host, may read, directly or as views. Among them
// is a result that no node reads: allocators keep its memory for the host.
std::unordered_set<const ggml_tensor*> find_escaping(const ggml_cgraph* graph, const FlowPlan& plan) {
    std::unordered_map<const ggml_tensor*, int> uses;
    for (int i = plan.first; i < plan.last; ++i)
        for (const ggml_tensor* const source : graph->nodes[i]->src)
            if (source != nullptr) ++uses[source];
    std::unordered_set<const ggml_tensor*> escaping;
    for (int i = plan.first; i < plan.last; ++i) {
        const ggml_tensor* const node = graph->nodes[i];
        if (!plan.tensors.contains(memory_of(node))) continue;
        const int inside = uses[node];
        const bool stays =
            inside > 0 && uses_of(graph, node) == inside && (node->flags & GGML_TENSOR_FLAG_OUTPUT) == 0;
        if (!stays) escaping.insert(memory_of(node));
    }
    return escaping;
}

size_t room_of(const FlowTensor& tensor) {
    return round_up(tensor.row_bytes, kRowAlignment);
}

// First fit: results that are needed at the same stage do not overlap. Returns the bytes for each row of all.
size_t find_offsets(std::vector<FlowTensor*> tensors) {
    std::sort(tensors.begin(), tensors.end(), [](const FlowTensor* a, const FlowTensor* b) {
        return a->first_stage != b->first_stage ? a->first_stage < b->first_stage
                                                : a->row_bytes > b->row_bytes;
    });
    size_t total = 0;
    std::vector<const FlowTensor*> alive;
    for (FlowTensor* const tensor : tensors) {
        std::erase_if(alive,
                      [&](const FlowTensor* other) { return other->last_stage < tensor->first_stage; });
        std::sort(alive.begin(), alive.end(),
                  [](const FlowTensor* a, const FlowTensor* b) { return a->offset < b->offset; });
        size_t offset = 0;
        for (const FlowTensor* const other : alive) {
            if (offset + room_of(*tensor) <= other->offset) break;
            offset = std::max(offset, other->offset + room_of(*other));
        }
        tensor->offset = offset;
        total = std::max(total, offset + room_of(*tensor));
        alive.push_back(tensor);
    }
    return total;
}

// Fills the homes and offsets of plan.tensors, and plan.copied_out: a result lives in
// the graph's memory if somebody outside may read it, else in a chunk's or a thread's own. The graph must
// know its uses. False: two results that outlive the flow lie in the same memory, so no order of chunks is
// right.
[[nodiscard]] bool find_homes(const GgmlFunctions& ggml, const ggml_cgraph* graph, const FlowOutside& outside,
                              FlowPlan& plan) {
    const auto escaping = find_escaping(graph, plan);
    std::vector<MemoryRange> results;  // in the graph's memory
    std::vector<FlowTensor*> in_chunk;
    // In the order of the nodes, so that offsets are the same every time.
    for (int i = plan.first; i < plan.last; ++i) {
        const ggml_tensor* const node = graph->nodes[i];
        const auto found = plan.tensors.find(node);
        if (found == plan.tensors.end()) continue;
        FlowTensor& tensor = found->second;
        FlowStage& stage = plan.stages[static_cast<size_t>(tensor.first_stage)];
        if (escaping.contains(node)) {
            const MemoryRange range = range_of(ggml, node);
            const auto is_there = [&](const MemoryRange& other) { return overlap(range, other); };
            if (std::any_of(results.begin(), results.end(), is_there)) return false;
            results.push_back(range);
            if (outside.may_write(range)) continue;
            // Other chunks have still to read what is there.
            plan.copied_out.push_back(node);
            tensor.last_stage = static_cast<int>(plan.stages.size());
        } else if (tensor.first_stage == tensor.last_stage && stage.kind == Kind::kPass) {
            tensor.home = Home::kBlock;
            tensor.offset = stage.block_bytes;
            stage.block_bytes += room_of(tensor);
            continue;
        }
        tensor.home = Home::kChunk;
        in_chunk.push_back(&tensor);
    }
    plan.chunk_bytes = find_offsets(std::move(in_chunk));
    return true;
}

class Planner {
  public:
    Planner(const Host& host, const ggml_cgraph* graph, std::span<const NodeDecision> decisions, int first,
            int64_t rows)
        : ggml_(host.ggml), graph_(graph), decisions_(decisions), rows_of_(host.ggml, plan_.tensors, rows) {
        plan_.first = plan_.last = first;
        plan_.rows = plan_.stream_rows = rows;
    }

    FlowPlan make() {
        // What the graph's last node reads is seen by hosts (llama-imatrix).
        while (knows_uses(graph_) && plan_.last + 1 < graph_->n_nodes) {
            plan_.stop.why = add(plan_.last);
            if (plan_.stop.why != Why::kNone) break;
            plan_.stop.why = Why::kGraph;
            ++plan_.last;
        }
        plan_.stop.node = plan_.last;
        // Views at the end belong to what comes next.
        while (plan_.last > plan_.first && is_no_op(ggml_.op(graph_->nodes[plan_.last - 1])))
            --plan_.last;
        if (ends_with_group()) open_pass();
        if (plan_.worth_it() && !find_homes(ggml_, graph_, outside_, plan_)) plan_.groups.clear();
        return std::move(plan_);
    }

  private:
    // Returns why the node cannot follow; kNone: it does.
    Why add(int index) {
        ggml_tensor* const node = graph_->nodes[index];
        const Target target = decisions_[static_cast<size_t>(index)].target;
        if (target == Target::kNone) return Why::kNone;
        if (target == Target::kNpu && ggml_.op(node) == Op::kMatMul) return add_group(node);
        RowMap mapped;
        const bool attends = ggml_.op(node) == Op::kFlashAttention;
        if ((target == Target::kNpu && !attends) || !rows_of_.map(node, mapped)) return Why::kOperation;
        return attends ? add_attention(mapped, decisions_[static_cast<size_t>(index)].attention)
                       : add_to_pass(mapped);
    }

    int last_stage() const { return static_cast<int>(plan_.stages.size()) - 1; }
    bool ends_with_group() const { return !plan_.stages.empty() && plan_.stages.back().kind == Kind::kGroup; }
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
        const bool behind_group = ends_with_group();
        FlowStage& pass = plan_.stages.emplace_back();
        if (behind_group) {
            pass.group_before = static_cast<int>(plan_.groups.size()) - 1;
            for (const ggml_tensor* const matmul : plan_.groups.back())
                used_in(matmul, last_stage());
        }
        return pass;
    }

    Why add_to_pass(const RowMap& mapped) {
        const bool writes_outside = mapped.dim == kWhole;
        // A pass does not wait for other chunks.
        if (reads_what_is_written(mapped.node)) return Why::kMemory;
        if (writes_outside && !outside_.may_write(range_of(ggml_, mapped.node))) return Why::kMemory;
        open_pass().nodes.push_back(mapped);
        if (!writes_outside) rows_of_.compute(mapped.node, mapped.dim);
        note(mapped.node, last_stage());
        return Why::kNone;
    }

    Why add_attention(const RowMap& mapped, AttentionReason reason) {
        if (reads_what_is_written(mapped.node)) return Why::kMemory;
        const int64_t stream_rows = plan_.rows / mapped.node->ne[3];
        if (attends_ && stream_rows != plan_.stream_rows) return Why::kOperation;
        attends_ = true;
        plan_.stream_rows = stream_rows;
        if (ends_with_group()) open_pass();
        FlowStage stage;
        stage.kind = Kind::kAttention;
        stage.attention = reason;
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
        return Why::kNone;
    }

    Why add_group(ggml_tensor* node) {
        const ggml_tensor* const activations = node->src[1];
        const bool joins = ends_with_group() && plan_.groups.back().front()->src[1] == activations;
        if (!rows_of_.is_matrix(node) || rows_of_.dim_of(activations, 1) != 1) return Why::kOperation;
        if (reads_what_is_written(node)) return Why::kMemory;
        columns_ = node->ne[0] + (joins ? columns_ : 0);
        if (columns_ > kMostColumns) return Why::kColumns;
        if (!joins) {
            open_pass().group_after = static_cast<int>(plan_.groups.size());
            plan_.stages.emplace_back().kind = Kind::kGroup;
            plan_.groups.emplace_back();
        }
        plan_.groups.back().push_back(node);
        rows_of_.compute(node, 1);
        // The activations are quantised by the pass; the results are written by the next one.
        note_read(node->src[0], last_stage());
        note_read(activations, last_stage() - 1);
        return Why::kNone;
    }

    const GgmlFunctions& ggml_;
    const ggml_cgraph* const graph_;
    const std::span<const NodeDecision> decisions_;
    FlowPlan plan_;
    RowMaps rows_of_;
    FlowOutside outside_;
    int64_t columns_ = 0;   // of the last group
    bool attends_ = false;  // plan_.stream_rows is known
};

}  // namespace

const char* FlowStop::text() const {
    switch (why) {
        case Why::kNone:
            return "goes on";
        case Why::kGraph:
            return "end of the graph";
        case Why::kOperation:
            return "not row by row";
        case Why::kMemory:
            return "memory of other chunks";
        case Why::kColumns:
            return "too many columns";
    }
    return "";
}

FlowPlan plan_flow(const Host& host, const ggml_cgraph* graph, std::span<const NodeDecision> decisions,
                   int first, int64_t rows) {
    return Planner(host, graph, decisions, first, rows).make();
}

}  // namespace rknpu2
