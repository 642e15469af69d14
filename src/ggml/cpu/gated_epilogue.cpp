// SPDX-License-Identifier: MIT
#include "ggml/cpu/gated_epilogue.hpp"

#include "ggml/host/graph_status.hpp"
#include "ggml/host/host_tensor.hpp"

namespace rknpu2 {
namespace {

// Some rows and columns of a matrix of floats.
HostTensor part_of(const GgmlFunctions& ggml, const ggml_tensor& whole, const ResultBlock& block, float* data,
                   size_t stride) {
    HostTensor part(ggml, whole);
    part->ne[0] = static_cast<int64_t>(block.columns);
    part->ne[1] = static_cast<int64_t>(block.rows);
    part->ne[2] = part->ne[3] = 1;
    part->nb[0] = sizeof(float);
    part->nb[1] = stride * sizeof(float);
    part->nb[2] = part->nb[3] = part->nb[1] * block.rows;
    part->data = data;
    part->view_src = nullptr;
    return part;
}

// Is it a matrix of floats without gaps, of the size of `other`?
bool is_matrix_like(const ggml_tensor* tensor, const ggml_tensor* other) {
    return tensor->type == GGML_TYPE_F32 && tensor->nb[0] == sizeof(float) &&
           tensor->nb[1] == static_cast<size_t>(tensor->ne[0]) * sizeof(float) && tensor->ne[2] == 1 &&
           tensor->ne[3] == 1 && tensor->ne[0] == other->ne[0] && tensor->ne[1] == other->ne[1];
}

}  // namespace

bool is_gate_of(const GgmlFunctions& ggml, const ggml_tensor* node, const ggml_tensor* a,
                const ggml_tensor* b) {
    const bool operands =
        (node->src[0] == a && node->src[1] == b) || (node->src[0] == b && node->src[1] == a);
    return ggml.op(node) == Op::kGlu && operands && a != b && is_matrix_like(a, node) &&
           is_matrix_like(b, node) && is_matrix_like(node, node);
}

Status GatedEpilogue::status() const {
    return failed_ ? status_of_cpu(GGML_STATUS_FAILED, node_) : Status();
}

void GatedEpilogue::apply(const ResultBlock& block) noexcept {
    const ggml_backend_t backend = cpus_.take();
    if (backend == nullptr) {
        failed_ = true;
        return;
    }
    const auto N = static_cast<size_t>(node_->ne[0]);
    const GgmlFunctions& ggml = host_.ggml;
    HostTensor first = part_of(ggml, *node_->src[0], block, block.products[swapped_ ? 1 : 0], block.stride);
    HostTensor second = part_of(ggml, *node_->src[1], block, block.products[swapped_ ? 0 : 1], block.stride);
    first->op = second->op = ggml.operations.number_of(Op::kNone);
    HostTensor out =
        part_of(ggml, *node_, block, static_cast<float*>(node_->data) + block.m * N + block.n, N);
    out->src[0] = first.get();
    out->src[1] = second.get();
    if (compute_node(host_, backend, out.get()) != GGML_STATUS_SUCCESS) failed_ = true;
    cpus_.give_back(backend);
}

}  // namespace rknpu2
