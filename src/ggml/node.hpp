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

// Operations that call functions of the user's, or update their sources.
inline bool may_write_elsewhere(const ggml_tensor* op) {
    switch (op->op) {
        case GGML_OP_MAP_CUSTOM1:
        case GGML_OP_MAP_CUSTOM2:
        case GGML_OP_MAP_CUSTOM3:
        case GGML_OP_CUSTOM:
        case GGML_OP_OPT_STEP_ADAMW:
        case GGML_OP_OPT_STEP_SGD:
            return true;
        default:
            return false;
    }
}

// May `op` change what `tensor` holds, although it is not the node that computes it? Tells by what is a view
// of what, so also before memory is given to tensors.
inline bool may_change(const ggml_tensor* op, const ggml_tensor* tensor) {
    if (is_no_op(op)) return false;
    const ggml_tensor* const memory = tensor->view_src != nullptr ? tensor->view_src : tensor;
    return op->view_src == memory || may_write_elsewhere(op);
}

}  // namespace rknpu2
