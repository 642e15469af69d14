// From ggml's tensors to our own values.
#pragma once

#include "ggml/host.hpp"
#include "ggml/node.hpp"
#include "matmul/policy.hpp"
#include "matmul/problem.hpp"
#include "matmul/weight_source.hpp"

namespace rknpu2 {

// `op` is a matmul; its data need not be allocated. Nothing else is taken for granted: sources may be
// missing, types may be none, sizes and strides may be anything (then support() refuses).
MatmulProblem describe(const Host& host, const ggml_tensor* op);

// Can the NPU compute this node of a graph, as a product with a matrix? The answer does not depend on the
// number of rows. Any node; its data need not be allocated.
bool can_multiply_on_npu(const Host& host, const ggml_tensor* node);

// `op` is a GGML_OP_MUL_MAT that the NPU can compute.
MatrixCall matrix_call(const Host& host, const ggml_tensor* op);

// `op` is a GGML_OP_MUL_MAT_ID.
ExpertsCall experts_call(const ggml_tensor* op);

// `weight` is a two-dimensional tensor with data, or a stack of experts of which one is meant.
WeightSource weight_source(const Host& host, const ggml_tensor* weight, int expert = -1);

}  // namespace rknpu2
