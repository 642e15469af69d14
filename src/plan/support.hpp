// SPDX-License-Identifier: MIT
// What a multiplication is, whether the NPU takes it, and if not, why.
//
// A yes is a promise: plan and run succeed then, short of a failing device or exhausted memory, because a
// ggml scheduler that heard yes has no second choice. Whether it is worth it is another question (policy.hpp).
//
// After a yes, sizes may be multiplied without a thought: every operand, packed weight and stack of experts
// is below kMostOperandBytes.
#pragma once

#include <cstddef>

#include "runtime/npu_runtime.hpp"

namespace rknpu2 {

// A matrix multiplication as a value: what was asked, without any tensor of a host.
//
// C[M,N] = A[M,K] * B[K,N]. B, the weights, is stored as N rows of K elements, as in a GGUF file. Whoever makes a
// problem sets all flags; support() decides by them. Sizes may come from another machine (ggml's RPC server): a
// product that overflowed is SIZE_MAX (base/checked.hpp).
struct MatmulProblem {
    size_t M = 0;
    size_t N = 0;
    size_t K = 0;

    // Mixture of experts: rows of A choose among several B of this shape. 0: there is one B.
    size_t experts = 0;
    size_t experts_used = 0;  // by each token; M counts every use

    NpuArithmetic arithmetic = NpuArithmetic::kInt8;  // of the configured precision (Recipe)

    bool weight_is_stored = false;            // a leaf of the graph, not a view and not computed
    bool weight_in_our_memory = false;        // in a buffer of our buffer type
    bool weight_in_compute_buffer = false;    // in a buffer that the scheduler reuses between graphs
    bool weight_is_rotation = false;          // the fixed rotation of a quantised KV cache
    bool weight_is_matrix = false;            // exactly two dimensions, or three for a stack of experts
    bool weight_is_contiguous = false;        // rows follow each other without gaps
    bool weight_can_be_dequantised = false;   // its type has a conversion to float
    bool activations_are_float = false;       // float32 in, float32 out
    bool activations_are_contiguous = false;  // for experts: row by row, and the choice is of int32
    bool shapes_agree = false;                // operands and result fit each other, rows are whole blocks

    // From the first to the last byte of the operand that reaches furthest, or more; SIZE_MAX: too large to
    // be told.
    size_t operand_bytes = 0;
};

enum class Reason {
    kSupported,
    kEmpty,
    kWeightIsComputed,
    kWeightElsewhere,
    kWeightIsTemporary,
    kWeightIsRotation,
    kWeightHasMoreDimensions,
    kWeightHasGaps,
    kWeightType,
    kActivationsType,
    kActivationsHaveGaps,
    kShapesDiffer,
    kTooLarge,
};
inline constexpr int kReasons = static_cast<int>(Reason::kTooLarge) + 1;

// No operand can take more: an address of a program has 47 bits.
inline constexpr size_t kMostOperandBytes = size_t{1} << 47;

// One short phrase, for logs, statistics and rknpu2-info.
const char* reason_text(Reason reason);

Reason support(const MatmulProblem& problem);

}  // namespace rknpu2
