// SPDX-License-Identifier: MIT
#include "ggml/layer_graph.hpp"

#include <algorithm>
#include <numeric>
#include <random>

namespace rknpu2::test {
namespace {

ContextPtr context_for(GgmlHost& host, size_t tensors) {
    return {host.ggml.ggml_init({tensors * host.ggml.ggml_tensor_overhead() + host.ggml.ggml_graph_overhead(),
                                 nullptr, true}),
            host.ggml.ggml_free};
}

}  // namespace

LayerGraph::LayerGraph(GgmlHost& host, const LayerOptions& options, uint32_t seed)
    : host_(host),
      options_(options),
      seed_(seed),
      cells_(std::max<int64_t>(320, (options.tokens + 31) / 32 * 32)),
      weights_context_(context_for(host, 64)),
      context_(context_for(host, 512)),
      weights_(nullptr, host.ggml.ggml_backend_buffer_free),
      caches_(nullptr, host.ggml.ggml_backend_buffer_free),
      allocator_(host.ggml.ggml_gallocr_new(host.ggml.ggml_backend_dev_buffer_type(host.device)),
                 host.ggml.ggml_gallocr_free),
      cache_context_(context_for(host, 64)) {
    const HostFunctions& ggml = host.ggml;
    ggml_context* const c = context_.get();
    const int64_t T = options.tokens;
    graph_ = ggml.ggml_new_graph(c);
    input_ = ggml.ggml_new_tensor_2d(c, GGML_TYPE_F32, kHidden, T);
    positions_ = ggml.ggml_new_tensor_1d(c, GGML_TYPE_I32, T);
    places_ = ggml.ggml_new_tensor_1d(c, GGML_TYPE_I64, T);
    mask_ = ggml.ggml_new_tensor_2d(c, GGML_TYPE_F16, cells_, T);
    for (ggml_tensor* const tensor : {input_, positions_, places_, mask_})
        ggml.ggml_set_input(tensor);
    ggml_tensor* x = options.scaled ? ggml.ggml_scale(c, input_, 3.0F) : input_;
    for (int i = 0; i < options.layers; ++i)
        x = layer(x, i);
    if (options.used_again) x = ggml.ggml_add(c, x, first_attention_);
    // As a model's last layer takes the rows whose logits are wanted.
    x = options.ends_with_gate ? last_gate_ : norm(x);
    ggml_tensor* const last = ggml.ggml_cont(c, ggml.ggml_view_2d(c, x, x->ne[0], T / 2, x->nb[1], 0));
    outputs_.push_back(last);
    for (ggml_tensor* const output : outputs_)
        ggml.ggml_set_output(output);
    ggml.ggml_build_forward_expand(graph_, last);
    const auto type = ggml.ggml_backend_dev_buffer_type(host.device);
    weights_.reset(ggml.ggml_backend_alloc_ctx_tensors_from_buft(weights_context_.get(), type));
    ggml.ggml_backend_buffer_set_usage(weights_.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    caches_.reset(ggml.ggml_backend_alloc_ctx_tensors_from_buft(cache_context_.get(), type));
    EXPECT_TRUE(ggml.ggml_gallocr_alloc_graph(allocator_.get(), graph_));
    Random random(seed);
    for (ggml_tensor* const tensor : weight_tensors_) {
        std::vector<float> values = random_floats(random, static_cast<size_t>(ggml.ggml_nelements(tensor)));
        for (float& value : values)
            value = tensor->ne[1] == 1 ? 1 + 0.1F * value : 0.1F * value;
        ggml.ggml_backend_tensor_set(tensor, values.data(), 0, values.size() * sizeof(float));
    }
}

ggml_tensor* LayerGraph::weight(const char* name, int64_t K, int64_t N) {
    weight_tensors_.push_back(host_.ggml.ggml_new_tensor_2d(weights_context_.get(), GGML_TYPE_F32, K, N));
    host_.ggml.ggml_set_name(weight_tensors_.back(), name);
    ++products_;
    return weight_tensors_.back();
}

ggml_tensor* LayerGraph::vector(int64_t N) {
    weight_tensors_.push_back(host_.ggml.ggml_new_tensor_1d(weights_context_.get(), GGML_TYPE_F32, N));
    return weight_tensors_.back();
}

ggml_tensor* LayerGraph::norm(ggml_tensor* x) {
    const HostFunctions& ggml = host_.ggml;
    return ggml.ggml_mul(context_.get(), ggml.ggml_rms_norm(context_.get(), x, 1e-5F), vector(x->ne[0]));
}

ggml_tensor* LayerGraph::layer(ggml_tensor* x, int index) {
    const HostFunctions& ggml = host_.ggml;
    ggml_context* const c = context_.get();
    ggml_tensor* const attended = attention(norm(x));
    if (index == 0) first_attention_ = attended;
    x = ggml.ggml_add(c, attended, x);
    ggml_tensor* const fed = feed_forward(norm(x));
    x = ggml.ggml_add(c, options_.scaled ? ggml.ggml_scale(c, fed, 0.5F) : fed, x);
    if (index == 0 && options_.middle_output) outputs_.push_back(x);
    return x;
}

// The result of Q, K or V by heads, as it goes into attention or the cache.
ggml_tensor* LayerGraph::heads_of(ggml_tensor* x, bool is_value) {
    const HostFunctions& ggml = host_.ggml;
    ggml_context* const c = context_.get();
    if (options_.biases) x = ggml.ggml_add(c, x, vector(x->ne[0]));
    const size_t head = kHead * sizeof(float);
    x = ggml.ggml_view_3d(c, x, kHead, x->ne[0] / kHead, x->ne[1], head, x->nb[1], 0);
    if (is_value) return x;
    if (options_.head_norms) x = norm(x);
    return ggml.ggml_rope_ext(c, x, positions_, nullptr, kHead, GGML_ROPE_TYPE_NEOX, 0, 10000, 1, 0, 1, 32,
                              1);
}

ggml_tensor* LayerGraph::attention(ggml_tensor* x) {
    const HostFunctions& ggml = host_.ggml;
    ggml_context* const c = context_.get();
    ggml_tensor *q = nullptr, *k = nullptr, *v = nullptr;
    if (options_.qkv_together) {
        ggml_tensor* const all = ggml.ggml_mul_mat(c, weight("qkv", kHidden, (kHeads + 2) * kHead), x);
        const auto part = [&](int64_t first, int64_t heads) {
            return ggml.ggml_view_2d(c, all, heads * kHead, x->ne[1], all->nb[1],
                                     static_cast<size_t>(first * kHead) * sizeof(float));
        };
        q = part(0, kHeads);
        k = part(kHeads, 1);
        v = part(kHeads + 1, 1);
    } else {
        q = ggml.ggml_mul_mat(c, weight("q", kHidden, kHeads * kHead), x);
        k = ggml.ggml_mul_mat(c, weight("k", kHidden, kHead), x);
        v = ggml.ggml_mul_mat(c, weight("v", kHidden, kHead), x);
    }
    q = heads_of(q, false);
    k = heads_of(k, false);
    v = heads_of(v, true);
    ggml.ggml_build_forward_expand(graph_, q);
    std::vector<ggml_tensor*> shown;
    for (ggml_tensor* const rows : {k, v}) {
        ggml_tensor* const cache =
            ggml.ggml_new_tensor_2d(cache_context_.get(), GGML_TYPE_F16, kHead, cells_);
        cache_tensors_.push_back(cache);
        ggml_tensor* const flat = ggml.ggml_view_2d(c, rows, kHead, rows->ne[2], rows->nb[2], 0);
        ggml.ggml_build_forward_expand(graph_, ggml.ggml_set_rows(c, cache, flat, places_));
        shown.push_back(
            ggml.ggml_view_3d(c, cache, kHead, cells_, 1, cache->nb[1], cache->nb[1] * cells_, 0));
    }
    ggml_tensor* const out = ggml.ggml_flash_attn_ext(c, ggml.ggml_permute(c, q, 0, 2, 1, 3), shown[0],
                                                      shown[1], mask_, 0.2F, 0, 0);
    ggml.ggml_set_name(out, "attention");
    ggml_tensor* const flat = ggml.ggml_reshape_2d(c, out, kHead * kHeads, options_.tokens);
    return ggml.ggml_mul_mat(c, weight("o", kHead * kHeads, kHidden), flat);
}

ggml_tensor* LayerGraph::feed_forward(ggml_tensor* x) {
    const HostFunctions& ggml = host_.ggml;
    ggml_context* const c = context_.get();
    ggml_tensor* const gate = ggml.ggml_mul_mat(c, weight("gate", kHidden, options_.ffn), x);
    ggml_tensor* const up = ggml.ggml_mul_mat(c, weight("up", kHidden, options_.ffn), x);
    ggml_tensor* const middle =
        options_.gelu ? ggml.ggml_geglu_split(c, gate, up) : ggml.ggml_swiglu_split(c, gate, up);
    last_gate_ = middle;
    return ggml.ggml_mul_mat(c, weight("down", options_.ffn, kHidden), middle);
}

void LayerGraph::fill() {
    const HostFunctions& ggml = host_.ggml;
    const int64_t T = options_.tokens;
    Random random(seed_ + 1);
    const std::vector<float> input = random_floats(random, static_cast<size_t>(kHidden * T));
    ggml.ggml_backend_tensor_set(input_, input.data(), 0, input.size() * sizeof(float));
    std::vector<int32_t> positions(static_cast<size_t>(T));
    std::iota(positions.begin(), positions.end(), 7);
    ggml.ggml_backend_tensor_set(positions_, positions.data(), 0, positions.size() * sizeof(int32_t));
    std::vector<int64_t> cells(cells_);
    std::iota(cells.begin(), cells.end(), 0);
    std::shuffle(cells.begin(), cells.end(), std::mt19937(seed_));
    ggml.ggml_backend_tensor_set(places_, cells.data(), 0, positions.size() * sizeof(int64_t));
    std::vector<uint16_t> mask(static_cast<size_t>(cells_ * T), 0xFC00);
    for (int64_t m = 0; m < T; ++m) {
        const int64_t seen = options_.causal ? m + 1 : T;
        for (int64_t i = 0; i < seen; ++i)
            mask[static_cast<size_t>(m * cells_ + cells[static_cast<size_t>(i)])] = 0;
    }
    ggml.ggml_backend_tensor_set(mask_, mask.data(), 0, mask.size() * sizeof(uint16_t));
    std::vector<uint16_t> old(static_cast<size_t>(cells_ * kHead), 0x3A3A);  // what was there before: 0.77
    for (int64_t m = 0; options_.infinite_cells && m < T; ++m)
        std::fill_n(old.begin() + cells[static_cast<size_t>(m)] * kHead, kHead, uint16_t{0x7C00});
    for (ggml_tensor* const cache : cache_tensors_)
        ggml.ggml_backend_tensor_set(cache, old.data(), 0, old.size() * sizeof(uint16_t));
}

std::vector<std::vector<uint8_t>> LayerGraph::compute(ggml_backend_t backend, bool node_by_node) {
    const HostFunctions& ggml = host_.ggml;
    fill();
    if (!node_by_node) {
        EXPECT_EQ(ggml.ggml_backend_graph_compute(backend, graph_), GGML_STATUS_SUCCESS);
    }
    for (int i = 0; node_by_node && i < ggml.ggml_graph_n_nodes(graph_); ++i) {
        const ContextPtr context = context_for(host_, 8);
        ggml_cgraph* const one = ggml.ggml_new_graph(context.get());
        ggml.ggml_graph_add_node(one, ggml.ggml_graph_node(graph_, i));
        EXPECT_EQ(ggml.ggml_backend_graph_compute(backend, one), GGML_STATUS_SUCCESS);
    }
    std::vector<std::vector<uint8_t>> all;
    std::vector<ggml_tensor*> readable = outputs_;
    readable.insert(readable.end(), cache_tensors_.begin(), cache_tensors_.end());
    for (ggml_tensor* const tensor : readable) {
        all.emplace_back(ggml.ggml_nbytes(tensor));
        ggml.ggml_backend_tensor_get(tensor, all.back().data(), 0, all.back().size());
    }
    return all;
}

}  // namespace rknpu2::test
