// SPDX-License-Identifier: MIT
// Layers of a language model as llama.cpp writes them, of a size for tests, with variations that a seed
// draws.
//
// Q, K and V with rotary embeddings, a cache that rows are set in, flash attention, a gated feed-forward
// block, residuals; results get their memory from ggml's graph allocator, which gives one piece of it to
// several of them. Activations and masks are random; the order of tokens in the cache is shuffled.
#pragma once

#include <vector>

#include "ggml/stored_matmul.hpp"

namespace rknpu2::test {

struct LayerOptions {
    int64_t tokens = 128;
    int layers = 2;
    int64_t ffn = 160;           // columns of gate and up
    bool causal = true;          // else every token sees all
    bool biases = false;         // after Q, K and V
    bool qkv_together = false;   // one weight, of whose results Q, K and V are views
    bool head_norms = false;     // of Q and K
    bool gelu = false;           // instead of SiLU
    bool scaled = false;         // the input and the residuals
    bool middle_output = false;  // the first layer's result is an output, too
    // The result is that of the last layer's gate, whose rows are longer than those of the input.
    bool ends_with_gate = false;
    bool infinite_cells = false;  // in the cache, where the tokens of the graph will be written
    bool used_again = false;      // the first layer's attention is read once more, at the end
};

class LayerGraph {
  public:
    LayerGraph(GgmlHost& host, const LayerOptions& options, uint32_t seed);

    // Fills inputs and caches as at first. The graph on `backend`, whole or node by node; then everything
    // that can be read: outputs and caches.
    std::vector<std::vector<uint8_t>> compute(ggml_backend_t backend, bool node_by_node);
    ggml_cgraph* graph() { return graph_; }
    int64_t products() const { return products_; }
    void fill();

  private:
    static constexpr int64_t kHead = 32;
    static constexpr int64_t kHeads = 3;
    static constexpr int64_t kHidden = 128;

    ggml_tensor* weight(const char* name, int64_t K, int64_t N);
    ggml_tensor* vector(int64_t N);
    ggml_tensor* norm(ggml_tensor* x);
    ggml_tensor* layer(ggml_tensor* x, int index);
    ggml_tensor* attention(ggml_tensor* x);
    ggml_tensor* heads_of(ggml_tensor* x, bool is_value);
    ggml_tensor* feed_forward(ggml_tensor* x);

    GgmlHost& host_;
    const LayerOptions options_;
    const uint32_t seed_;
    const int64_t cells_;  // of the cache
    ContextPtr weights_context_;
    ContextPtr context_;
    BufferPtr weights_;
    BufferPtr caches_;
    HostPtr<ggml_gallocr> allocator_;
    std::vector<ggml_tensor*> weight_tensors_, cache_tensors_, outputs_;
    ContextPtr cache_context_;
    ggml_tensor* input_ = nullptr;
    ggml_tensor* positions_ = nullptr;
    ggml_tensor* places_ = nullptr;
    ggml_tensor* mask_ = nullptr;
    ggml_tensor* first_attention_ = nullptr;
    ggml_tensor* last_gate_ = nullptr;
    ggml_cgraph* graph_ = nullptr;
    int64_t products_ = 0;
};

}  // namespace rknpu2::test
