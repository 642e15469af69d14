// SPDX-License-Identifier: MIT
#include "ggml/graph/weights_ahead.hpp"

#include <algorithm>

#include "ggml/buffer/buffer.hpp"
#include "ggml/node/access.hpp"
#include "ggml/node/describe.hpp"

namespace rknpu2 {
namespace {

// Stored weights of this size are enough to be worth a team, and few enough that others who want the team,
// and a host that asks to stop, do not wait long. Pages are given back after each load.
constexpr uint64_t kLoadBytes = uint64_t{64} << 20;

// The multiplications that are computed together, step by step, those of flows among them.
std::vector<std::span<const PlannedMatmul>> groups_of(const GraphPlan& plan) {
    std::vector<std::span<const PlannedMatmul>> groups;
    for (const Step& step : plan.steps) {
        if (step.kind == Step::Kind::kGroup) groups.push_back(plan.members_of(step));
        if (step.kind != Step::Kind::kFlow) continue;
        for (const std::vector<PlannedMatmul>& product : plan.flows[step.flow].products)
            groups.emplace_back(product);
    }
    return groups;
}

// The plan's last multiplication by a plain matrix; null: there is none. Asked for every graph.
const ggml_tensor* last_product(const GraphPlan& plan) {
    for (auto step = plan.steps.rbegin(); step != plan.steps.rend(); ++step) {
        if (step->kind == Step::Kind::kGroup) return plan.members_of(*step).back().node;
        if (step->kind == Step::Kind::kFlow) return plan.flows[step->flow].products.back().back().node;
    }
    return nullptr;
}

bool writes_weight(const GgmlFunctions& ggml, const GraphPlan& plan, const ggml_tensor* weight) {
    const MemoryRange range = range_of(ggml, weight);
    const auto* const nodes = plan.graph->nodes;
    return std::any_of(nodes, nodes + plan.graph->n_nodes,
                       [&](const ggml_tensor* node) { return writes(ggml, node, range); });
}

class WeightLoad {
  public:
    WeightLoad(Host& host, const GraphPlan& plan) : host_(host), plan_(plan) {}

    uint64_t bytes() const { return bytes_; }

    // Gives the weights of multiplications that are computed together their places, side by side. False: it
    // cannot.
    bool add(std::span<const PlannedMatmul> matmuls) {
        std::vector<WeightSource> sources;
        std::vector<PlannedMatmul> added;
        for (const PlannedMatmul& matmul : matmuls) {
            const ggml_tensor* const weight = matmul.node->src[0];
            if (our_buffer(host_, weight->buffer)->poisoned) return false;
            if (is_packed(host_, matmul.node) || is_added(weight) || writes_weight(host_.ggml, plan_, weight))
                continue;
            sources.push_back(weight_source(host_, matmul.node));
            added.push_back(matmul);
        }
        if (sources.empty()) return true;
        auto reserved = host_.npu->reserve(sources, NpuDevice::Attempts::kOne);
        if (!reserved.ok()) return false;
        for (size_t i = 0; i < sources.size(); ++i) {
            bytes_ += sources[i].bytes();
            matmuls_.push_back(added[i]);
            reserved_.push_back(std::move(reserved.value()[i]));
        }
        return true;
    }

    // Makes them the weights of their buffers. False: it could not.
    bool finish() {
        host_.npu->load(reserved_);
        for (size_t i = 0; i < reserved_.size(); ++i) {
            if (!packed_weight(host_, matmuls_[i], -1, &reserved_[i]).ok()) return false;
        }
        reserved_.clear();
        matmuls_.clear();
        bytes_ = 0;
        return true;
    }

  private:
    // Two multiplications may share a weight.
    bool is_added(const ggml_tensor* weight) const {
        return std::any_of(matmuls_.begin(), matmuls_.end(), [&](const PlannedMatmul& matmul) {
            return matmul.node->src[0]->data == weight->data;
        });
    }

    Host& host_;
    const GraphPlan& plan_;
    std::vector<ReservedWeight> reserved_;
    std::vector<PlannedMatmul> matmuls_;
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
    WeightLoad load(host, plan);
    for (const std::span<const PlannedMatmul>& group : groups_of(plan)) {
        if (!load.add(group)) break;
        if (load.bytes() < kLoadBytes) continue;
        if (!load.finish() || (abort != nullptr && abort(abort_data))) return;
    }
    load.finish();
}

}  // namespace rknpu2
