// SPDX-License-Identifier: MIT
// Proves that the host's CPU backend calls functions of ours as nodes of a graph (GGML_OP_CUSTOM), before one is relied on.
//
// The host's own function makes two such nodes; they must read through our structures as what was asked for. Then the backend
// computes them: each of its threads must call each function once, with what was asked for, and the second one when the first
// is done. No other part of the plug-in needs this: a host without it keeps its own attention.
#pragma once

#include "base/status.hpp"
#include "ggml/host/imports.hpp"

namespace rknpu2 {

// kAborted, kOutOfMemory: nothing is known yet. kUnsupported with the first fact that differs, such as "functions as nodes: a node's parameters". By a backend of the host's CPU
// that nobody else uses meanwhile, with the threads that it has.
Status prove_custom_nodes(const GgmlFunctions& ggml, ggml_backend_t backend);

}  // namespace rknpu2
