// SPDX-License-Identifier: MIT
#include "ggml/diagnostics/sensitivity.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <set>

#include "base/format.hpp"
#include "base/log.hpp"
#include "calibration/divergence.hpp"
#include "ggml/buffer/buffer.hpp"
#include "ggml/node/access.hpp"

namespace rknpu2 {
namespace {

constexpr std::chrono::seconds kProgressEvery{10};

bool is_weight(const ggml_tensor* tensor) {
    return tensor->buffer != nullptr && tensor->buffer->usage == GGML_BACKEND_BUFFER_USAGE_WEIGHTS;
}

// What a graph reads and does not produce, weights excepted: its inputs, and memories that it also writes to.
class SavedInputs {
  public:
    SavedInputs(const Host& host, const ggml_cgraph* graph) : host_(host) {
        std::set<const ggml_tensor*> seen;
        for (int i = 0; i < graph->n_nodes; ++i) {
            add(graph->nodes[i], seen);
            for (const ggml_tensor* const source : graph->nodes[i]->src)
                if (source != nullptr) add(source, seen);
        }
    }

    void restore() const {
        for (const Saved& one : saved_) {
            note_write(host_, one.tensor);
            std::memcpy(one.tensor->data, one.bytes.data(), one.bytes.size());
        }
    }

  private:
    struct Saved {
        const ggml_tensor* tensor;
        std::vector<std::byte> bytes;
    };

    void add(const ggml_tensor* tensor, std::set<const ggml_tensor*>& seen) {
        const ggml_tensor* const base = memory_of(tensor);
        if (base->op != GGML_OP_NONE || base->data == nullptr || base->buffer == nullptr) return;
        if (is_weight(base) || !seen.insert(base).second) return;
        const auto* const data = static_cast<const std::byte*>(base->data);
        saved_.push_back({base, {data, data + host_.ggml.ggml_nbytes(base)}});
    }

    const Host& host_;
    std::vector<Saved> saved_;
};

// The multiplications of a graph that ends in logits.
struct MeasuredGraph {
    std::vector<const ggml_tensor*> weights;  // distinct, in their order
    const ggml_tensor* logits = nullptr;      // null: the graph does not, or of too few rows
};

bool writes_a_weight(const ggml_tensor* node) {
    bool found = writes_anywhere(node);
    for_each_written(node, [&](const ggml_tensor* tensor) { found = found || is_weight(memory_of(tensor)); });
    return found;
}

MeasuredGraph measured_graph(const Host& host, const GraphPlan& plan) {
    MeasuredGraph measured;
    bool output = false;  // of the graph, in the last multiplication or what is made of it
    bool again = true;    // the graph can be computed again
    for (int i = 0; i < plan.graph->n_nodes; ++i) {
        const ggml_tensor* const node = plan.graph->nodes[i];
        const bool on_npu = plan.decisions[static_cast<size_t>(i)].target == Target::kNpu;
        if (on_npu && node->op == GGML_OP_MUL_MAT) {
            measured.logits = node;
            output = false;
            if (std::find(measured.weights.begin(), measured.weights.end(), node->src[0]) ==
                measured.weights.end())
                measured.weights.push_back(node->src[0]);
        }
        // A part of a prompt of which no logits are wanted has outputs without rows.
        const bool some = host.ggml.ggml_nrows(node) > 0 && node->ne[0] > 0;
        output = output || (some && (node->flags & GGML_TENSOR_FLAG_OUTPUT) != 0);
        again = again && !writes_a_weight(node);
    }
    if (measured.logits == nullptr) return measured;
    const auto rows = static_cast<size_t>(host.ggml.ggml_nrows(measured.logits));
    if (!output || !again || measured.weights.size() < 2 || rows < Sensitivity::kFewestRows)
        measured.logits = nullptr;
    return measured;
}

}  // namespace

ggml_status Sensitivity::run(const Host& host, const GraphPlan& plan, const Compute& compute) {
    const std::lock_guard lock(mutex_);
    const MeasuredGraph measured = tried_ ? MeasuredGraph{} : measured_graph(host, plan);
    if (measured.logits == nullptr) return compute(nullptr);
    tried_ = true;
    const auto N = static_cast<size_t>(measured.logits->ne[0]);
    const auto rows = static_cast<size_t>(host.ggml.ggml_nrows(measured.logits));
    const auto* const logits = static_cast<const float*>(measured.logits->data);
    const SavedInputs inputs(host, plan.graph);
    ggml_status status = compute(nullptr);
    if (status != GGML_STATUS_SUCCESS) return status;
    const std::vector<float> base(logits, logits + rows * N);
    std::map<std::string, Measured> found;
    auto told = std::chrono::steady_clock::now();
    for (size_t i = 0; i < measured.weights.size(); ++i) {
        const ggml_tensor* const weight = measured.weights[i];
        inputs.restore();
        status = compute(weight);
        if (status != GGML_STATUS_SUCCESS) return status;
        const double divergence = mean_divergence(base.data(), logits, rows, N);
        if (std::isfinite(divergence))
            found[weight->name] = {static_cast<float>(divergence), weight == measured.logits->src[0]};
        const auto now = std::chrono::steady_clock::now();
        if (now - told >= kProgressEvery || i + 1 == measured.weights.size()) {
            log(LogLevel::kInfo, "sensitivity: %zu of %zu weights", i + 1, measured.weights.size());
            told = now;
        }
    }
    inputs.restore();
    status = compute(nullptr);
    if (status != GGML_STATUS_SUCCESS) return status;
    if (std::memcmp(base.data(), logits, base.size() * sizeof(float)) != 0) {
        log(LogLevel::kError,
            "sensitivity: the same graph gave two results, so nothing was measured; please report the model");
        return status;
    }
    weights_ = std::move(found);
    return status;
}

ModelStats Sensitivity::merged_into(ModelStats statistics) const {
    const std::lock_guard lock(mutex_);
    for (auto& [name, entry] : statistics) {
        const auto measured = weights_.find(name);
        if (measured == weights_.end()) continue;
        entry.one_plane_divergence = measured->second.divergence;
        entry.output = measured->second.output;
    }
    return statistics;
}

bool Sensitivity::measured() const {
    const std::lock_guard lock(mutex_);
    return !weights_.empty();
}

}  // namespace rknpu2
