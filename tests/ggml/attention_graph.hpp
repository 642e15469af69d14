// SPDX-License-Identifier: MIT
// A graph with an attention of a few tokens over a cache, computed by the plug-in or by the host's CPU backend alone.
#pragma once

#include <string>
#include <vector>

#include "ggml/stored_matmul.hpp"

namespace rknpu2::test {

struct AttentionOptions {
    const char* name = "";
    int64_t tokens = 1;
    int64_t first =
        0;  // of as many tokens as anybody wants: their queries and masks are the same in all graphs
    int64_t positions = 300;
    int64_t heads = 6, kv_heads = 2;
    int64_t width = 64, v_width = 64;
    int64_t sequences = 1;
    ggml_type k_type = GGML_TYPE_F16, v_type = GGML_TYPE_F16;
    bool masked = true;
    bool holes = false;  // in the mask, different ones for each token; the last positions are hidden for all
    float hidden = 0;    // what keys and values of halves are where no token sees them
    bool sinks = false;
    float softcap = 0, max_bias = 0;
    bool products = false;  // queries are a product of the NPU's, and the result goes into one
    int attentions = 1;     // alike, one after the other
};

class AttentionGraph {
  public:
    AttentionGraph(GgmlHost& host, const AttentionOptions& options);

    // The result, by tokens: all of it, or that of the last product.
    std::vector<float> compute_here(int threads = 2);
    std::vector<float> compute_by_ggml();

  private:
    ggml_tensor* cache(ggml_type type, int64_t width);
    ggml_tensor* queries();
    void add_attention();
    void fill();
    void fill_cache(ggml_tensor* shown, uint64_t seed);
    std::vector<float> compute(ggml_backend_t backend);
    bool is_visible(int64_t token, int64_t position) const;
    bool is_seen(int64_t position) const;
    ContextPtr new_context();

    GgmlHost& host_;
    const AttentionOptions options_;
    ContextPtr weights_, nodes_;
    BufferPtr weights_buffer_{nullptr, nullptr}, buffer_{nullptr, nullptr};
    ggml_tensor *input_ = nullptr, *keys_ = nullptr, *values_ = nullptr, *mask_ = nullptr, *sinks_ = nullptr;
    ggml_tensor *query_weight_ = nullptr, *out_weight_ = nullptr;
    std::vector<ggml_tensor*> results_;
    ggml_cgraph* graph_ = nullptr;
};

}  // namespace rknpu2::test
