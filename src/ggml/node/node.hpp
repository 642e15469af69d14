// SPDX-License-Identifier: MIT
// What kind of node of a graph this is, told from the tensor alone.
#pragma once

#include "ggml.h"

namespace rknpu2 {

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

}  // namespace rknpu2
