// SPDX-License-Identifier: MIT
// From ggml's tensors to our own values.
#pragma once

#include "ggml/host/host.hpp"
#include "ggml/node/node.hpp"
#include "plan/weight_source.hpp"

namespace rknpu2 {

// `op` is a matmul; its data need not be allocated. Sources may be missing, types may be none, sizes and
// strides may be anything: then support() refuses.
MatmulProblem describe(const Host& host, const ggml_tensor* op);

// Is the node, of any kind, a product with a matrix that the NPU can compute? The answer does not depend on
// the number of rows; data need not be allocated.
bool can_multiply_on_npu(const Host& host, const ggml_tensor* node);

// Is the node the fixed rotation of a quantised KV cache? It is a MUL_MAT by a leaf, as those by weights are; a
// hint in its second parameter tells. The host's CPU backend transforms each row of src[1] by itself. Source:
// ggml_mul_mat_set_hint() and ggml-cpu of ggml 0.25.3.
bool is_rotation(const GgmlFunctions& ggml, const ggml_tensor* node);

// What turns a row of the tensor into floats; null: nothing does.
DequantiseRow dequantise_of(const Host& host, const ggml_tensor* tensor);

// `op` is a MUL_MAT that the NPU can compute.
MatrixCall matrix_call(const Host& host, const ggml_tensor* op);

// `op` is a MUL_MAT_ID.
ExpertsCall experts_call(const ggml_tensor* op);

// Does the host forbid to round the activations of `op`, a matmul, to 8 bits? It does so by
// ggml_prec_set_src() with GGML_PREC_F32, BF16 or F16 for src[1]. (What ggml_prec_set_acc() may ask of sums
// holds always: they are int32 or float32.) Source: TAG_GGML_PREC in ggml.h and ggml.c of ggml 0.25.1 to
// 0.25.3.
bool wants_float_activations(const ggml_tensor* op);

// Returns the weight of `op`, a matmul that the NPU can compute, or one expert of its stack. It has data.
WeightSource weight_source(const Host& host, const ggml_tensor* op, int expert = -1);

}  // namespace rknpu2
