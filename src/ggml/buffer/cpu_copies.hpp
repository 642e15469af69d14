// SPDX-License-Identifier: MIT
// Weights in the layout that the host's CPU backend computes with fastest: stacks of experts, and plain matrices.
//
// ggml's CPU backend has kernels that want several rows of a weight interleaved. What is written to a buffer
// of a type of their own is laid out so. llama.cpp puts weights there when a model runs on the CPU, so weights
// that we leave to our inner CPU backend would be slower than without us: half as fast for single tokens in
// Q4_0. So a weight is copied when the CPU first computes it, and the copy stands in for the weight. Types
// without such a layout have no copy.
//
// Like packed weights, copies belong to the buffer of the raw weight, go with it, and are dropped when it is
// written to (weight_store.hpp). Cost: the weight's bytes once more; of a mapped file the raw pages are given back.
#pragma once

#include <memory>

#include "ggml/host/host.hpp"

namespace rknpu2 {

// Takes the place of the raw weight; owns its buffer. Null: there is none.
using CpuCopy = std::shared_ptr<const ggml_tensor>;

// Makes the copy of the weight of `node`, a multiplication, which has data. Null where the CPU backend computes with
// the raw weight as fast; kOutOfMemory: there is no memory for a copy.
Result<CpuCopy> copy_for_cpu(Host& host, const ggml_tensor* node);

// Likewise, of a weight that stays: counted. Null also where there is no memory (a warning, once).
CpuCopy make_cpu_copy(Host& host, const ggml_tensor* node);

}  // namespace rknpu2
