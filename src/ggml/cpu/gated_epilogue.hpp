// SPDX-License-Identifier: MIT
// The gate of a feed-forward block (GLU: SiLU of one matrix times another, and its kin), computed on
// the results of two multiplications while they are in a cache.
//
// The function is the host's own, called for the rows and columns at hand through CPU backends of one thread
// each, so every element has the bits that it would have had in a pass of its own: ggml computes a row from
// left to right in vectors of at most 16 floats, and our blocks begin at multiples of 16 columns.
#pragma once

#include <atomic>

#include "ggml/cpu/inner_cpu.hpp"
#include "runs/epilogue.hpp"

namespace rknpu2 {

// Is `node` such an operation, on two matrices like `a` and `b`, of which it reads one as its first and the
// other as its second operand?
bool is_gate_of(const GgmlFunctions& ggml, const ggml_tensor* node, const ggml_tensor* a,
                const ggml_tensor* b);

// One object for each multiplication.
class GatedEpilogue final : public Epilogue {
  public:
    // `node` is computed from two products, the first of which is that of `first`; is_gate_of() holds.
    GatedEpilogue(const Host& host, OneThreadCpus& cpus, const ggml_tensor* node, const ggml_tensor* first)
        : host_(host), cpus_(cpus), node_(node), swapped_(node->src[0] != first) {}

    // Any thread.
    void apply(const ResultBlock& block) noexcept override;
    // Returns what failed, or ok. After the multiplication.
    Status status() const;

  private:
    const Host& host_;
    OneThreadCpus& cpus_;
    const ggml_tensor* const node_;
    const bool swapped_;  // the first product is the second operand
    std::atomic<bool> failed_{false};
};

}  // namespace rknpu2
