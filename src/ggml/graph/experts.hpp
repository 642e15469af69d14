// SPDX-License-Identifier: MIT
// Multiplies by the experts of a mixture-of-experts layer: MUL_MAT_ID.
//
// Each expert is a weight of its own, packed when the first row chooses it. The rows that chose one are
// gathered, multiplied together, and scattered to where they belong; a single row is multiplied in place. Up
// and gate of a layer read the same rows and choose alike, so they are computed expert by expert together:
// the rows are gathered and quantised once for both.
#pragma once

#include "ggml/host/host.hpp"
#include "ggml/node/node.hpp"

namespace rknpu2 {

// Where `node`, a MUL_MAT_ID that support() says yes to, is computed, and why. Follows from its shape
// alone (plan/policy.hpp), and from the memory that is left when its stack is first asked about.
TargetChoice experts_choice(Host& host, const ggml_tensor* node);

// Can `next` be computed together with `node`, a MUL_MAT_ID?
bool choose_alike(const GgmlFunctions& ggml, const ggml_tensor* node, const ggml_tensor* next);

// Kept from call to call; used by one thread.
struct ExpertsMemory {
    AlignedBuffer rows;     // gathered
    AlignedBuffer results;  // to be scattered
};

// Computes nodes that choose alike, one or more. Fails if a token chooses an expert that the stack does not
// have, and as multiplications fail. `abort` is asked before each expert is packed, and before each is multiplied by; its
// yes leads to kAborted.
Status multiply_experts(Host& host, ExpertsMemory& memory, Nodes matmuls, ggml_abort_callback abort,
                        void* abort_data);

}  // namespace rknpu2
