// SPDX-License-Identifier: MIT
// A node of a graph: whose memory a tensor shows, who computes it, and why.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ggml/api/tensors.hpp"
#include "plan/attention_policy.hpp"
#include "plan/policy.hpp"
#include "plan/support.hpp"

namespace rknpu2 {

using Nodes = std::span<ggml_tensor* const>;

// The tensor that owns the memory which `tensor` shows: itself, unless it is a view.
inline const ggml_tensor* memory_of(const ggml_tensor* tensor) {
    return tensor->view_src != nullptr ? tensor->view_src : tensor;
}

// Element (0, i1, i2, i3) of a tensor.
template <typename Element>
Element* row_of(const ggml_tensor* tensor, int64_t i1, int64_t i2 = 0, int64_t i3 = 0) {
    const auto at = [&](int64_t i, int d) { return static_cast<size_t>(i) * tensor->nb[d]; };
    return reinterpret_cast<Element*>(static_cast<std::byte*>(tensor->data) + at(i1, 1) + at(i2, 2) +
                                      at(i3, 3));
}

struct NodeDecision {
    Target target = Target::kCpu;
    // Why the NPU can or cannot do a multiplication; any other node keeps the default, which means nothing.
    Reason reason = Reason::kSupported;
    AttentionReason attention = AttentionReason::kOnNpu;  // of attention, likewise
    TargetChoice choice;  // where a multiplication by experts that the NPU can do is computed, and why
};

}  // namespace rknpu2
