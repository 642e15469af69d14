// SPDX-License-Identifier: MIT
#include "ggml/graph/weights_ahead.hpp"

#include <algorithm>

#include "ggml/buffer/buffer.hpp"
#include "ggml/node/access.hpp"
#include "ggml/node/describe.hpp"
#include "matmul/npu_device.hpp"

namespace rknpu2 {
namespace {

// Stored weights of this size are enough to be worth a team, and few enough that others who want the team,
// and a host that asks to stop, do not wait long. Pages are given back after each load.
constexpr uint64_t kLoadBytes = uint64_t{64} << 20;

// The plan's multiplications by plain matrices, those that are computed together side by side.
std::vector<Nodes> groups_of(const GraphPlan& plan) {
    std::vector<Nodes> groups;
    for (const Step& step : plan.steps) {
        if (step.kind == Step::Kind::kGroup) groups.emplace_back(step.members);
        if (step.flow) groups.insert(groups.end(), step.flow->groups.begin(), step.flow->groups.end());
    }
    return groups;
}

// The last of them; null: there is none. Asked for every graph.
const ggml_tensor* last_product(const GraphPlan& plan) {
    for (auto step = plan.steps.rbegin(); step != plan.steps.rend(); ++step) {
        if (step->kind == Step::Kind::kGroup) return step->members.back();
        if (step->flow) return step->flow->groups.back().back();
    }
    return nullptr;
}

class WeightLoad {
  public:
    WeightLoad(Host& host, const ggml_cgraph* graph) : host_(host), graph_(graph) {}

    uint64_t bytes() const { return bytes_; }

    // Reserves memory, side by side, for the weights of multiplications that are computed together. False: it
    // cannot.
    bool add(Nodes matmuls) {
        std::vector<WeightSource> sources;
        for (ggml_tensor* const matmul : matmuls) {
            const ggml_tensor* const weight = matmul->src[0];
            if (our_buffer(host_, weight->buffer)->poisoned) return false;
            if (is_packed(host_, matmul) || is_added(weight) || is_written(weight)) continue;
            sources.push_back(weight_source(host_, matmul));
            matmuls_.push_back(matmul);
        }
        if (sources.empty()) return true;
        auto reserved = host_.npu->reserve(sources, NpuDevice::Attempts::kOne);
        if (!reserved.ok()) return false;
        for (ReservedWeight& weight : reserved.value()) {
            bytes_ += weight.source.bytes();
            reserved_.push_back(std::move(weight));
        }
        return true;
    }

    // Makes them the weights of their buffers. False: it could not.
    bool finish() {
        host_.npu->load(reserved_);
        for (size_t i = 0; i < reserved_.size(); ++i)
            if (!packed_weight(host_, matmuls_[i], -1, &reserved_[i]).ok()) return false;
        reserved_.clear();
        matmuls_.clear();
        bytes_ = 0;
        return true;
    }

  private:
    // Two multiplications may share a weight.
    bool is_added(const ggml_tensor* weight) const {
        const auto has_it = [&](const auto& other) { return other.source.data == weight->data; };
        return std::any_of(reserved_.begin(), reserved_.end(), has_it);
    }
    bool is_written(const ggml_tensor* weight) const {
        const MemoryRange range = range_of(host_.ggml, weight);
        return std::any_of(graph_->nodes, graph_->nodes + graph_->n_nodes,
                           [&](const ggml_tensor* node) { return writes(host_.ggml, node, range); });
    }

    Host& host_;
    const ggml_cgraph* const graph_;
    std::vector<ReservedWeight> reserved_;
    std::vector<ggml_tensor*> matmuls_;  // of the reserved weights; behind them, those of a failed add()
    uint64_t bytes_ = 0;
};

}  // namespace

void load_weights_ahead(Host& host, const GraphPlan& plan, ggml_abort_callback abort, void* abort_data) {
    if (!host.npu->has_weight_cache() || host.config.precision == Precision::kReference) return;
    const ggml_tensor* const last = last_product(plan);
    const auto is_loaded = [&] { return last == nullptr || is_packed(host, last); };
    if (is_loaded() || host.npu->is_full()) return;
    // Another backend may be about to load the same.
    const std::lock_guard lock(host.loading_mutex);
    if (is_loaded()) return;
    WeightLoad load(host, plan.graph);
    for (const Nodes group : groups_of(plan)) {
        if (!load.add(group)) break;
        if (load.bytes() < kLoadBytes) continue;
        if (!load.finish() || (abort != nullptr && abort(abort_data))) return;
    }
    load.finish();
}

}  // namespace rknpu2
