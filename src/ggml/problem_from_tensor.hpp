// From ggml's tensors to our own values.
#pragma once

#include "ggml/host.hpp"
#include "ggml/node.hpp"
#include "matmul/problem.hpp"
#include "matmul/weight_source.hpp"

namespace rknpu2 {

// `op` is a matmul; its data need not be allocated.
MatmulProblem describe(const Host& host, const ggml_tensor* op);

// Does the NPU compute this node of a graph? Any node; its data need not be allocated.
bool runs_on_npu(const Host& host, const ggml_tensor* node);

// `weight` is a two-dimensional tensor with data.
WeightSource weight_source(const Host& host, const ggml_tensor* weight);

}  // namespace rknpu2
