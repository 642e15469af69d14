// SPDX-License-Identifier: MIT
// The gate of a feed-forward block (GGML_OP_GLU: SiLU of one matrix times another, and its kin), computed on
// the results of two multiplications while they are in a cache.
//
// The function is the host's own, called for the rows and columns at hand through CPU backends of one thread
// each, so every element has the bits that it would have had in a pass of its own: ggml computes a row from
// left to right in vectors, and our blocks begin at multiples of 32 columns.
//
// begin() and status() belong to the thread that multiplies; apply() is called from all.
#pragma once

#include <atomic>

#include "ggml/cpu/one_thread_cpus.hpp"
#include "matmul/epilogue.hpp"

namespace rknpu2 {

class GatedEpilogue final : public Epilogue {
  public:
    GatedEpilogue(Host& host, OneThreadCpus& cpus) : host_(host), cpus_(cpus) {}

    // Is `node` such an operation, on two matrices like `a` and `b`, of which it reads one as its first and
    // the other as its second operand?
    static bool fits(const ggml_tensor* node, const ggml_tensor* a, const ggml_tensor* b);

    // `node` is to be computed from the products of `a` and `b`, in this order; fits() holds.
    void begin(ggml_tensor* node, const ggml_tensor* a);
    void apply(const ResultBlock& block) noexcept override;
    // Returns what failed since begin(), or ok.
    Status status() const;

  private:
    Host& host_;
    OneThreadCpus& cpus_;
    ggml_tensor* node_ = nullptr;
    bool swapped_ = false;  // the first product is the second operand
    std::atomic<bool> failed_{false};
};

}  // namespace rknpu2
