// SPDX-License-Identifier: MIT
// Proves the tables of functions that a plug-in and its host hand to each other: the host's CPU buffer reads
// through our structures as through the host's functions, and the host's functions call the entries of ours.
#pragma once

#include "ggml/host/abi.hpp"
#include "ggml/host/imports.hpp"

namespace rknpu2 {

// The first kind of object whose table differs, such as "a buffer's table"; null if all fit. `tensor` has no
// memory, and has none afterwards; `graph` is not computed.
const char* first_table_that_differs(const GgmlFunctions& ggml, const Abi& abi, ggml_tensor* tensor,
                                     ggml_cgraph* graph);

}  // namespace rknpu2
