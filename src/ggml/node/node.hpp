// SPDX-License-Identifier: MIT
// What kind of node of a graph this is, told from the tensor alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ggml.h"

namespace rknpu2 {

using Nodes = std::span<ggml_tensor* const>;

inline bool is_matmul(const ggml_tensor* op) {
    return op->op == GGML_OP_MUL_MAT || op->op == GGML_OP_MUL_MAT_ID;
}

// Operations that move no data.
inline bool is_no_op(const ggml_tensor* op) {
    return op->op == GGML_OP_NONE || op->op == GGML_OP_RESHAPE || op->op == GGML_OP_VIEW ||
           op->op == GGML_OP_PERMUTE || op->op == GGML_OP_TRANSPOSE;
}

// The tensor that owns the memory which `tensor` shows: itself, unless it is a view.
inline const ggml_tensor* memory_of(const ggml_tensor* tensor) {
    return tensor->view_src != nullptr ? tensor->view_src : tensor;
}

// Element (0, i1, i2, i3) of a tensor.
template <typename Element>
Element* row_of(const ggml_tensor* tensor, int64_t i1, int64_t i2 = 0, int64_t i3 = 0) {
    const auto at = [&](int64_t i, int d) { return static_cast<size_t>(i) * tensor->nb[d]; };
    return reinterpret_cast<Element*>(static_cast<std::byte*>(tensor->data) + at(i1, 1) + at(i2, 2) +
                                      at(i3, 3));
}

}  // namespace rknpu2
