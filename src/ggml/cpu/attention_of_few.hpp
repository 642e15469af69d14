// SPDX-License-Identifier: MIT
// Attention of few tokens by our own code (attention/few_tokens.hpp), in the threads of the host's CPU backend.
//
// A node that calls a function of ours (GGML_OP_CUSTOM) takes the place of FLASH_ATTN_EXT in the graph that the backend gets. Each of
// its threads calls it once, and all are waited for before the next node. So no thread has to be woken that is not at
// work anyway.
#pragma once

#include <deque>

#include "attention/few_tokens.hpp"
#include "ggml/host/host.hpp"
#include "ggml/host/host_tensor.hpp"

namespace rknpu2 {

class AttentionOfFew {
  public:
    explicit AttentionOfFew(Host& host) : host_(host) {}
    AttentionOfFew(const AttentionOfFew&) = delete;
    AttentionOfFew& operator=(const AttentionOfFew&) = delete;

    // Returns what computes `node` in its place, by at most so many threads; valid until clear(). Null: there is no memory, or
    // the node is none for few_tokens.hpp. It must be one that attention_problem() can read, and the host one that
    // prove_custom_nodes() has proven.
    ggml_tensor* stand_in(const ggml_tensor* node, size_t threads);
    // When all of them have been computed, or will not be.
    void clear();

  private:
    // One node of the host's, sequence by sequence.
    struct Attention {
        void work() noexcept;

        std::deque<FewTokensAttention> sequences;
        HostTensor node;
    };
    bool begin(Attention& attention, const ggml_tensor* node, size_t threads);

    Host& host_;
    std::deque<Attention> attentions_;  // nodes point to them
    // By sequence, kept until the backend goes: of the attentions of a graph, one works at a time.
    std::deque<AlignedBuffer> memory_;
};

}  // namespace rknpu2
