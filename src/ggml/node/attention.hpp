// SPDX-License-Identifier: MIT
// From a node FLASH_ATTN_EXT of ggml to our own values. Source of operands and parameters: ggml_flash_attn_ext()
// and the CPU backend of ggml 0.9.3 to 0.25.3.
#pragma once

#include "attention/npu_attention.hpp"
#include "ggml/host/host.hpp"
#include "ggml/host/host_tensor.hpp"
#include "ggml/node/node.hpp"

namespace rknpu2 {

// Who computes the attention `node`, and why. Data need not be allocated; types, sizes and strides may be anything.
AttentionReason choose_attention(const Host& host, const ggml_tensor* node);

// Has the NPU had no room for the node, one that it can compute, or one like it (attention/refusals.hpp)? Whoever has tried
// all says what came of it; of a refusal there is one line.
bool is_refused(const Host& host, const ggml_tensor* node);
void note_refusal(Host& host, const ggml_tensor* node, const Status& why);
void note_computed(Host& host, const ggml_tensor* node);

// What the node computes for one of its sequences (element of dimension 3). The NPU can compute it.
AttentionProblem attention_problem(const Host& host, const ggml_tensor* node, int64_t sequence);

// A graph of the CPU backend for one token of it.
class TokenOfAttention {
  public:
    TokenOfAttention(const GgmlFunctions& ggml, const ggml_tensor* node, int64_t sequence, int64_t token);
    ggml_tensor* node() { return node_.get(); }

  private:
    HostTensor node_;
    std::vector<HostTensor> sources_;
};

}  // namespace rknpu2
