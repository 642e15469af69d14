// From ggml's tensors to our own values.
#pragma once

#include "ggml/host.hpp"
#include "matmul/policy.hpp"
#include "matmul/problem.hpp"
#include "matmul/weight_source.hpp"

namespace rknpu2 {

// True for GGML_OP_MUL_MAT and GGML_OP_MUL_MAT_ID.
bool is_matmul(const ggml_tensor* op);

// True for operations that move no data.
bool is_no_op(const ggml_tensor* op);

// `op` is a matmul; its data need not be allocated.
MatmulProblem describe(const Host& host, const ggml_tensor* op);

// `op` is a GGML_OP_MUL_MAT_ID.
ExpertsCall experts_call(const ggml_tensor* op);

// `weight` is a two-dimensional tensor with data, or a stack of experts of which one is meant.
WeightSource weight_source(const Host& host, const ggml_tensor* weight, int expert = -1);

}  // namespace rknpu2
