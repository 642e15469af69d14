// SPDX-License-Identifier: MIT
// Proves that a host is laid out as we think, before anything of it is used.
//
// A release number says what somebody has tried; this says what is so. The host's own functions make tensors, a
// graph and buffers, and they must read through our structures as what was asked for. Tables of ours are handed
// to the host's functions, which must call the entries that we mean. Operations and types are compared by name.
//
// Nothing stays behind. Callers hold the plug-in's lock: one proof at a time in a process.
#pragma once

#include "base/status.hpp"
#include "ggml/host/abi.hpp"
#include "ggml/host/imports.hpp"

namespace rknpu2 {

// The layout of the host. kUnsupported: no known one fits, and the message names the first fact that differs, such as
// "it differs from ggml 0.9.3 to 0.9.11 and 0.11.0 to 0.25.3 in a tensor's name".
Result<const Abi*> prove_abi(const GgmlFunctions& ggml);

// Does the host, which is proven, mark what is to be computed (GGML_TENSOR_FLAG_COMPUTE)?
bool marks_wanted_nodes(const GgmlFunctions& ggml);

}  // namespace rknpu2
