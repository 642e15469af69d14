// SPDX-License-Identifier: MIT
#include "ggml/cpu/gated_epilogue.hpp"

#include <utility>

namespace rknpu2 {
namespace {

// Some rows and columns of a matrix of floats.
ggml_tensor part_of(const ggml_tensor& whole, const ResultBlock& block, float* data, size_t stride) {
    ggml_tensor part = whole;
    part.ne[0] = static_cast<int64_t>(block.columns);
    part.ne[1] = static_cast<int64_t>(block.rows);
    part.ne[2] = part.ne[3] = 1;
    part.nb[0] = sizeof(float);
    part.nb[1] = stride * sizeof(float);
    part.nb[2] = part.nb[3] = part.nb[1] * block.rows;
    part.data = data;
    part.view_src = nullptr;
    return part;
}

bool is_plain_matrix(const ggml_tensor* tensor) {
    return tensor->type == GGML_TYPE_F32 && tensor->nb[0] == sizeof(float) &&
           tensor->nb[1] == static_cast<size_t>(tensor->ne[0]) * sizeof(float) && tensor->ne[2] == 1 &&
           tensor->ne[3] == 1;
}

bool same_size(const ggml_tensor* a, const ggml_tensor* b) {
    return a->ne[0] == b->ne[0] && a->ne[1] == b->ne[1];
}

}  // namespace

bool GatedEpilogue::fits(const ggml_tensor* node, const ggml_tensor* a, const ggml_tensor* b) {
    const bool operands =
        (node->src[0] == a && node->src[1] == b) || (node->src[0] == b && node->src[1] == a);
    return node->op == GGML_OP_GLU && operands && a != b && is_plain_matrix(a) && is_plain_matrix(b) &&
           is_plain_matrix(node) && same_size(a, b) && same_size(a, node);
}

void GatedEpilogue::begin(ggml_tensor* node, const ggml_tensor* a) {
    node_ = node;
    swapped_ = node->src[0] != a;
    failed_ = false;
}

Status GatedEpilogue::status() const {
    if (!failed_) return {};
    return {StatusCode::kInternal, std::string("the host's CPU backend could not compute ") + node_->name};
}

void GatedEpilogue::apply(const ResultBlock& block) noexcept {
    const ggml_backend_t backend = cpus_.take();
    if (backend == nullptr) {
        failed_ = true;
        return;
    }
    const auto N = static_cast<size_t>(node_->ne[0]);
    ggml_tensor first = part_of(*node_->src[0], block, block.products[swapped_ ? 1 : 0], block.stride);
    ggml_tensor second = part_of(*node_->src[1], block, block.products[swapped_ ? 0 : 1], block.stride);
    first.op = second.op = GGML_OP_NONE;
    ggml_tensor out = part_of(*node_, block, static_cast<float*>(node_->data) + block.m * N + block.n, N);
    out.src[0] = &first;
    out.src[1] = &second;
    ggml_tensor* nodes[] = {&out};
    ggml_cgraph graph{};
    graph.size = graph.n_nodes = 1;
    graph.nodes = nodes;
    if (host_.ggml.ggml_backend_graph_compute(backend, &graph) != GGML_STATUS_SUCCESS) failed_ = true;
    cpus_.give_back(backend);
}

}  // namespace rknpu2
