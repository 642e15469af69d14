// SPDX-License-Identifier: MIT
#include "ggml/diagnostics/sensitivity.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "base/log.hpp"
#include "calibration/plane_choice.hpp"
#include "ggml/buffer/buffer.hpp"
#include "ggml/node/access.hpp"

namespace rknpu2 {
namespace {

constexpr std::chrono::seconds kProgressEvery{10};

bool is_weight(const Host& host, const ggml_tensor* tensor) {
    return tensor->buffer != nullptr &&
           host.abi->buffer_usage(tensor->buffer) == GGML_BACKEND_BUFFER_USAGE_WEIGHTS;
}

// The bytes of what a graph reads and does not produce, weights excepted: inputs, and memories that it also
// writes to.
std::map<const ggml_tensor*, std::vector<std::byte>> save_inputs(const Host& host, const ggml_cgraph* graph) {
    std::map<const ggml_tensor*, std::vector<std::byte>> saved;
    const auto save = [&](const ggml_tensor* tensor) {
        const ggml_tensor* const base = tensor != nullptr ? memory_of(tensor) : nullptr;
        if (base == nullptr || host.ggml.op(base) != Op::kNone || base->data == nullptr ||
            base->buffer == nullptr)
            return;
        const auto* const data = static_cast<const std::byte*>(base->data);
        if (!is_weight(host, base)) saved.try_emplace(base, data, data + host.ggml.ggml_nbytes(base));
    };
    for (int i = 0; i < graph->n_nodes; ++i) {
        save(graph->nodes[i]);
        std::for_each(std::begin(graph->nodes[i]->src), std::end(graph->nodes[i]->src), save);
    }
    return saved;
}

bool writes_a_weight(const Host& host, const ggml_tensor* node) {
    bool found = writes_anywhere(host.ggml, node);
    for_each_written(host.ggml, node,
                     [&](const ggml_tensor* tensor) { found = found || is_weight(host, memory_of(tensor)); });
    return found;
}

// The plan's multiplications by plain matrices, in their order, the last of which gives logits. Empty if the
// graph is not to be measured.
std::vector<const ggml_tensor*> measured_matmuls(const Host& host, const GraphPlan& plan) {
    std::vector<const ggml_tensor*> matmuls;
    bool output = false;  // the last multiplication, or what is made of it, is one
    for (int i = 0; i < plan.graph->n_nodes; ++i) {
        const ggml_tensor* const node = plan.graph->nodes[i];
        if (!is_no_op(host.ggml.op(node)) && !host.ggml.computes(node)) continue;
        if (writes_a_weight(host, node)) return {};  // the graph cannot be computed again
        const bool on_npu = plan.decisions[static_cast<size_t>(i)].target == Target::kNpu;
        if (on_npu && host.ggml.op(node) == Op::kMatMul) {
            matmuls.push_back(node);
            output = false;
        }
        // A part of a prompt of which no logits are wanted has outputs without rows.
        const bool some = host.ggml.ggml_nrows(node) > 0 && node->ne[0] > 0;
        output = output || (some && (node->flags & GGML_TENSOR_FLAG_OUTPUT) != 0);
    }
    if (!output || matmuls.empty() || host.ggml.ggml_nrows(matmuls.back()) < Sensitivity::kFewestRows)
        return {};
    return matmuls;
}

}  // namespace

ggml_status Sensitivity::run(const Host& host, const GraphPlan& plan, const Compute& compute) {
    const std::lock_guard lock(mutex_);
    const auto matmuls = tried_ ? std::vector<const ggml_tensor*>{} : measured_matmuls(host, plan);
    std::vector<const ggml_tensor*> weights;  // distinct
    for (const ggml_tensor* const matmul : matmuls)
        if (std::find(weights.begin(), weights.end(), matmul->src[0]) == weights.end())
            weights.push_back(matmul->src[0]);
    if (weights.size() < 2) return compute(nullptr);
    tried_ = true;
    const ggml_tensor* const last = matmuls.back();
    const auto N = static_cast<size_t>(last->ne[0]);
    const auto rows = static_cast<size_t>(host.ggml.ggml_nrows(last));
    const auto* const logits = static_cast<const float*>(last->data);
    const auto inputs = save_inputs(host, plan.graph);
    const auto compute_again = [&](const ggml_tensor* one_plane) {
        for (const auto& [tensor, bytes] : inputs) {
            note_write(host, tensor);
            std::memcpy(tensor->data, bytes.data(), bytes.size());
        }
        return compute(one_plane);
    };
    ggml_status status = compute(nullptr);
    if (status != GGML_STATUS_SUCCESS) return status;
    const std::vector<float> base(logits, logits + rows * N);
    std::map<std::string, Measured> found;
    auto told = std::chrono::steady_clock::now();
    for (size_t i = 0; i < weights.size(); ++i) {
        status = compute_again(weights[i]);
        if (status != GGML_STATUS_SUCCESS) return status;
        const double divergence = mean_divergence(base.data(), logits, rows, N);
        if (std::isfinite(divergence))
            found[weights[i]->name] = {static_cast<float>(divergence), weights[i] == last->src[0]};
        const auto now = std::chrono::steady_clock::now();
        if (now - told >= kProgressEvery || i + 1 == weights.size()) {
            log(LogLevel::kInfo, "sensitivity: %zu of %zu weights", i + 1, weights.size());
            told = now;
        }
    }
    status = compute_again(nullptr);
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
    if (weights_.empty()) return {};
    for (auto& [name, entry] : statistics) {
        const auto measured = weights_.find(name);
        if (measured == weights_.end()) continue;
        entry.one_plane_divergence = measured->second.divergence;
        entry.output = measured->second.output;
    }
    return statistics;
}

}  // namespace rknpu2
