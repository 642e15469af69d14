// SPDX-License-Identifier: MIT
// What a node of a graph reads and writes, and whether two nodes may change places.
//
// Whoever reorders nodes, computes some together, lets rows run ahead or uses a derived form of a tensor (a
// packed weight, quantised activations) asks here, so no hazard can be known in one place and forgotten in
// another. A weight is an operand like any other: a graph may write it.
//
// Memory is compared as bytes, not as tensors: allocators give one piece of memory to several tensors, and a
// view may show any part of another tensor.
//
// Pure functions of tensors; any thread.
#pragma once

#include <cstdint>

#include "ggml/host/imports.hpp"
#include "ggml/node/node.hpp"

namespace rknpu2 {

// The bytes of a tensor, from its first to its last one.
struct MemoryRange {
    // Null: `begin` and `end` are addresses. Else there is no memory yet, and they are offsets into that of
    // this tensor.
    const ggml_tensor* owner = nullptr;
    uintptr_t begin = 0;
    uintptr_t end = 0;

    bool empty() const { return begin == end; }
    friend bool operator==(const MemoryRange&, const MemoryRange&) = default;
};

inline bool overlap(const MemoryRange& a, const MemoryRange& b) {
    return a.owner == b.owner && a.begin < b.end && b.begin < a.end;
}

MemoryRange range_of(const GgmlFunctions& ggml, const ggml_tensor* tensor);

// May the node write outside of the tensors that it names? A custom operation calls a function of the user's.
bool writes_anywhere(const GgmlFunctions& ggml, const ggml_tensor* node);

// Calls visit(const ggml_tensor*) for each tensor that the node writes: itself, what an optimiser step updates
// in place, and whatever a host's own function finds in the node (GGML_OP_CUSTOM; ggml_map_custom1() and its
// like get constant operands). Operations that move no data write nothing.
template <typename Visit>
void for_each_written(const GgmlFunctions& ggml, const ggml_tensor* node, const Visit& visit) {
    const Op op = ggml.op(node);
    if (is_no_op(op)) return;
    visit(node);
    if (op != Op::kAdamwStep && op != Op::kSgdStep && op != Op::kCustom) return;
    for (const ggml_tensor* const source : node->src)
        if (source != nullptr) visit(source);
}

// Is the product an output of the graph, or the numbers of one before they are scaled, capped and the like? So logits of some
// models are (Gemma 2, Granite).
bool gives_output(const GgmlFunctions& ggml, const ggml_cgraph* graph, const ggml_tensor* product);

bool writes(const GgmlFunctions& ggml, const ggml_tensor* node, const MemoryRange& range);

// Must the two be computed in their order, since one of them writes what the other one reads or writes?
// Operations that move no data conflict with nothing.
bool conflict(const GgmlFunctions& ggml, const ggml_tensor* a, const ggml_tensor* b);

}  // namespace rknpu2
