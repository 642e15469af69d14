#include "ggml/sensitivity.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "base/format.hpp"
#include "base/log.hpp"
#include "matmul/divergence.hpp"

namespace rknpu2 {
namespace {

constexpr std::chrono::seconds kProgressEvery{10};

// What a graph reads and does not produce, weights excepted: its inputs, and memories that it also writes to.
class SavedInputs {
  public:
    SavedInputs(const GgmlFunctions& ggml, const ggml_cgraph* graph) {
        std::vector<const ggml_tensor*> seen;
        for (int i = 0; i < graph->n_nodes; ++i) {
            add(ggml, graph->nodes[i], seen);
            for (const ggml_tensor* const source : graph->nodes[i]->src)
                if (source != nullptr) add(ggml, source, seen);
        }
    }

    void restore() const {
        for (const Saved& one : saved_)
            std::memcpy(one.data, one.bytes.data(), one.bytes.size());
    }

  private:
    struct Saved {
        void* data;
        std::vector<std::byte> bytes;
    };

    void add(const GgmlFunctions& ggml, const ggml_tensor* tensor, std::vector<const ggml_tensor*>& seen) {
        const ggml_tensor* const base = tensor->view_src != nullptr ? tensor->view_src : tensor;
        if (base->op != GGML_OP_NONE || base->data == nullptr || base->buffer == nullptr) return;
        if (base->buffer->usage == GGML_BACKEND_BUFFER_USAGE_WEIGHTS) return;
        if (std::find(seen.begin(), seen.end(), base) != seen.end()) return;
        seen.push_back(base);
        const auto* const data = static_cast<const std::byte*>(base->data);
        saved_.push_back({base->data, {data, data + ggml.ggml_nbytes(base)}});
    }

    std::vector<Saved> saved_;
};

// The multiplications of a graph that ends in logits.
struct Targets {
    std::vector<const ggml_tensor*> weights;  // distinct, in their order
    const ggml_tensor* logits = nullptr;      // null: the graph does not, or of too few rows
};

Targets targets_of(const Host& host, const ggml_cgraph* graph, const Sensitivity::RunsOnNpu& runs_on_npu) {
    Targets targets;
    bool output = false;  // of the graph, in the last multiplication or what is made of it
    for (int i = 0; i < graph->n_nodes; ++i) {
        const ggml_tensor* const node = graph->nodes[i];
        if (runs_on_npu(node)) {
            targets.logits = node;
            output = false;
            if (std::find(targets.weights.begin(), targets.weights.end(), node->src[0]) ==
                targets.weights.end())
                targets.weights.push_back(node->src[0]);
        }
        // A part of a prompt of which no logits are wanted has outputs without rows.
        const bool some = host.ggml.ggml_nrows(node) > 0 && node->ne[0] > 0;
        output = output || (some && (node->flags & GGML_TENSOR_FLAG_OUTPUT) != 0);
    }
    if (targets.logits == nullptr) return targets;
    const auto rows = static_cast<size_t>(host.ggml.ggml_nrows(targets.logits));
    if (!output || targets.weights.size() < 2 || rows < Sensitivity::kFewestRows) targets.logits = nullptr;
    return targets;
}

}  // namespace

ggml_status Sensitivity::run(const Host& host, ggml_cgraph* graph, const RunsOnNpu& runs_on_npu,
                             const Compute& compute) {
    const std::lock_guard lock(mutex_);
    const Targets targets = tried_ ? Targets{} : targets_of(host, graph, runs_on_npu);
    if (targets.logits == nullptr) return compute(nullptr);
    tried_ = true;
    const auto N = static_cast<size_t>(targets.logits->ne[0]);
    const auto rows = static_cast<size_t>(host.ggml.ggml_nrows(targets.logits));
    const auto* const logits = static_cast<const float*>(targets.logits->data);
    const SavedInputs inputs(host.ggml, graph);
    ggml_status status = compute(nullptr);
    if (status != GGML_STATUS_SUCCESS) return status;
    const std::vector<float> base(logits, logits + rows * N);
    std::map<std::string, Measured> found;
    auto told = std::chrono::steady_clock::now();
    for (size_t i = 0; i < targets.weights.size(); ++i) {
        const ggml_tensor* const weight = targets.weights[i];
        inputs.restore();
        status = compute(weight);
        if (status != GGML_STATUS_SUCCESS) return status;
        const double divergence = mean_divergence(base.data(), logits, rows, N);
        if (std::isfinite(divergence))
            found[weight->name] = {static_cast<float>(divergence), weight == targets.logits->src[0]};
        const auto now = std::chrono::steady_clock::now();
        if (now - told >= kProgressEvery || i + 1 == targets.weights.size()) {
            log(LogLevel::kInfo, "sensitivity: %zu of %zu weights", i + 1, targets.weights.size());
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

ModelStatistics Sensitivity::merged_into(ModelStatistics statistics) const {
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
