// SPDX-License-Identifier: MIT
// Where the plain matrices of a graph are multiplied, as GGML_RKNPU2_MATRICES=auto wants it: by the NPU, or by the CPU
// from the weights as they are stored, whichever makes the graph faster (plan/cheapest_way.hpp).
//
// The answer depends on the shapes in the graph, and on three things more:
//   the weight's buffer   where there is no memory for both forms of its matrices, the NPU has them all, which is one
//                         line of the log
//   the first time        a weight that is not packed is the NPU's: llama.cpp's warm-up packs all, and the first prompt
//                         need not wait
//   diagnostics           what is gathered about weights is about all of them
//
// Nodes are looked at by what they are, not by where they stand, so that GGML_RKNPU2_FUSE changes no answer.
#pragma once

#include <vector>

#include "ggml/host/host.hpp"
#include "ggml/node/node.hpp"

namespace rknpu2 {

// Makes some of the NPU's plain multiplications the CPU's: in `decisions`, by node of the graph. True if a weight was not
// packed yet.
bool place_matrices(Host& host, const ggml_cgraph* graph, std::vector<NodeDecision>& decisions);

// After the graph has been computed: copies, for the CPU (ggml/buffer/cpu_copies.hpp), those of its plain matrices that
// a graph of the same products of one row would leave to it. `abort` is asked before each; its yes leads to kAborted, and
// what is left then is copied when it is computed.
Status prepare_for_tokens(Host& host, const ggml_cgraph* graph, const std::vector<NodeDecision>& decisions,
                          ggml_abort_callback abort, void* abort_data);

}  // namespace rknpu2
