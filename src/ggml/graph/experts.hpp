// SPDX-License-Identifier: MIT
// Multiplies by the experts of a mixture-of-experts layer: GGML_OP_MUL_MAT_ID.
//
// Each expert is a weight of its own, packed when the first row chooses it. The rows that chose one are
// gathered, multiplied together, and scattered to where they belong; a single row is multiplied in place. Up
// and gate of a layer read the same rows and choose alike, so they are computed expert by expert together:
// the rows are gathered and quantised once for both.
//
// Where a call is computed is decided from its shape alone (plan/policy.hpp), before its operands are
// known, and once for each stack from the memory that is left. One object a backend, used by one thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "ggml/host/host.hpp"
#include "ggml/node/decision.hpp"
#include "plan/policy.hpp"

namespace rknpu2 {

class ExpertsMultiplication {
  public:
    explicit ExpertsMultiplication(Host& host) : host_(host) {}

    // `node` is a GGML_OP_MUL_MAT_ID that support() says yes to.
    static TargetChoice target(Host& host, const ggml_tensor* node);

    // True if `next` can be computed together with `node`.
    static bool together(const ggml_tensor* node, const ggml_tensor* next);

    // Nodes that can be computed together, one or more.
    Status multiply(std::span<const PlannedMatmul> matmuls);

  private:
    // One use of an expert: the token's `nth` choice.
    struct Use {
        int32_t nth;
        int32_t token;
    };

    using Packed = Result<std::shared_ptr<const PackedWeight>>;

    // The weights of all products, in their order, up to one without which the graph fails. All before the
    // first product: whatever was packed is handed to the NPU by whole slabs, before the next product.
    std::vector<Packed> pack_used(std::span<const PlannedMatmul> matmuls);
    void prepare_for_tokens(const ggml_tensor* node);
    Status sort_uses(const ggml_tensor* node);
    Status multiply_expert(std::span<const PlannedMatmul> matmuls, int expert, std::span<const Use> uses);
    Status multiply_rows(const PlannedMatmul& matmul, int expert, const float* a, size_t M, uint64_t version,
                         float* out);

    Host& host_;
    std::span<const Packed> packed_;  // of the products that are left, during multiply()
    std::vector<size_t> first_;       // of each expert's uses; one more than there are experts
    std::vector<size_t> next_;        // while they are sorted
    std::vector<Use> uses_;           // by expert, in the order of tokens
    AlignedBuffer rows_;              // gathered
    AlignedBuffer results_;           // to be scattered
};

}  // namespace rknpu2
