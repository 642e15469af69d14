// SPDX-License-Identifier: MIT
#include "ggml/attention_graph.hpp"

#include <cmath>
#include <cstring>
#include <limits>

namespace rknpu2::test {
namespace {

constexpr int64_t kModel = 96;  // columns of what queries are products of
constexpr int64_t kMostTokens = 64;
constexpr int64_t kHiddenForAll = 20;  // positions at the end

}  // namespace

AttentionGraph::AttentionGraph(GgmlHost& host, const AttentionOptions& options)
    : host_(host), options_(options), weights_(new_context()), nodes_(new_context()) {
    const HostFunctions& ggml = host.ggml;
    const int64_t rows = options.tokens * options.sequences;
    graph_ = ggml.ggml_new_graph(nodes_.get());
    query_weight_ =
        ggml.ggml_new_tensor_2d(weights_.get(), GGML_TYPE_F32, kModel, options.width * options.heads);
    out_weight_ =
        ggml.ggml_new_tensor_2d(weights_.get(), GGML_TYPE_F32, options.v_width * options.heads, kModel);
    input_ = ggml.ggml_new_tensor_2d(nodes_.get(), GGML_TYPE_F32,
                                     options.products ? kModel : options.width * options.heads, rows);
    keys_ = cache(options.k_type, options.width);
    values_ = cache(options.v_type, options.v_width);
    if (options.masked)
        mask_ = ggml.ggml_new_tensor_4d(nodes_.get(), GGML_TYPE_F16, options.positions, options.tokens, 1,
                                        options.sequences);
    if (options.sinks) sinks_ = ggml.ggml_new_tensor_1d(nodes_.get(), GGML_TYPE_F32, options.heads);
    for (int i = 0; i < options.attentions; ++i)
        add_attention();
    const auto type = ggml.ggml_backend_dev_buffer_type(host.device);
    weights_buffer_ = {ggml.ggml_backend_alloc_ctx_tensors_from_buft(weights_.get(), type),
                       ggml.ggml_backend_buffer_free};
    ggml.ggml_backend_buffer_set_usage(weights_buffer_.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    buffer_ = {ggml.ggml_backend_alloc_ctx_tensors_from_buft(nodes_.get(), type),
               ggml.ggml_backend_buffer_free};
    fill();
}

ContextPtr AttentionGraph::new_context() {
    const HostFunctions& ggml = host_.ggml;
    return {ggml.ggml_init({64 * ggml.ggml_tensor_overhead() + ggml.ggml_graph_overhead(), nullptr, true}),
            ggml.ggml_free};
}

// As llama.cpp has it: a row for each position, with all heads; shown by heads.
ggml_tensor* AttentionGraph::cache(ggml_type type, int64_t width) {
    const HostFunctions& ggml = host_.ggml;
    ggml_tensor* const rows = ggml.ggml_new_tensor_4d(nodes_.get(), type, width, options_.kv_heads,
                                                      options_.positions, options_.sequences);
    return ggml.ggml_permute(nodes_.get(), rows, 0, 2, 1, 3);
}

ggml_tensor* AttentionGraph::queries() {
    const HostFunctions& ggml = host_.ggml;
    ggml_tensor* const rows =
        options_.products ? ggml.ggml_mul_mat(nodes_.get(), query_weight_, input_) : input_;
    return ggml.ggml_permute(nodes_.get(),
                             ggml.ggml_reshape_4d(nodes_.get(), rows, options_.width, options_.heads,
                                                  options_.tokens, options_.sequences),
                             0, 2, 1, 3);
}

void AttentionGraph::add_attention() {
    const HostFunctions& ggml = host_.ggml;
    ggml_tensor* result = ggml.ggml_flash_attn_ext(nodes_.get(), queries(), keys_, values_, mask_,
                                                   1 / std::sqrt(static_cast<float>(options_.width)),
                                                   options_.max_bias, options_.softcap);
    if (sinks_ != nullptr) ggml.ggml_flash_attn_ext_add_sinks(result, sinks_);
    if (options_.products)
        result =
            ggml.ggml_mul_mat(nodes_.get(), out_weight_,
                              ggml.ggml_reshape_2d(nodes_.get(), result, options_.v_width * options_.heads,
                                                   options_.tokens * options_.sequences));
    ggml.ggml_set_output(result);
    ggml.ggml_build_forward_expand(graph_, result);
    results_.push_back(result);
}

// Tokens are as many positions behind each other as they are apart, as in a text.
bool AttentionGraph::is_visible(int64_t token, int64_t position) const {
    const int64_t last = options_.positions - kHiddenForAll - kMostTokens + token;
    return position <= last && !(options_.holes && (position * 7 + token) % 5 == 0 && position != last);
}

bool AttentionGraph::is_seen(int64_t position) const {
    for (int64_t token = options_.first; token < options_.first + options_.tokens; ++token)
        if (is_visible(token, position)) return true;
    return false;
}

void AttentionGraph::fill_cache(ggml_tensor* shown, uint64_t seed) {
    const HostFunctions& ggml = host_.ggml;
    Random random(seed);
    ggml_tensor* const rows = shown->view_src;
    const size_t columns = static_cast<size_t>(rows->ne[0] * rows->ne[1]);
    std::vector<uint8_t> bytes(ggml.ggml_nbytes(rows));
    const size_t row_bytes = ggml.ggml_row_size(rows->type, static_cast<int64_t>(columns));
    for (int64_t row = 0; row < rows->ne[2] * rows->ne[3]; ++row) {
        std::vector<float> values = random_floats(random, columns);
        if (options_.masked && !is_seen(row % rows->ne[2])) values.assign(columns, options_.hidden);
        ggml.ggml_quantize_chunk(rows->type, values.data(),
                                 bytes.data() + static_cast<size_t>(row) * row_bytes, 0, 1,
                                 static_cast<int64_t>(columns), nullptr);
    }
    ggml.ggml_backend_tensor_set(rows, bytes.data(), 0, bytes.size());
}

void AttentionGraph::fill() {
    const HostFunctions& ggml = host_.ggml;
    Random random(5);
    const auto set = [&](ggml_tensor* tensor, const std::vector<float>& values) {
        ggml.ggml_backend_tensor_set(tensor, values.data(), 0, ggml.ggml_nbytes(tensor));
    };
    set(query_weight_, random_floats(random, static_cast<size_t>(ggml.ggml_nelements(query_weight_))));
    set(out_weight_, random_floats(random, static_cast<size_t>(ggml.ggml_nelements(out_weight_))));
    const auto columns = static_cast<size_t>(input_->ne[0]);
    const std::vector<float> tokens = random_floats(
        random, columns * static_cast<size_t>(options_.first + options_.tokens * options_.sequences));
    set(input_, {tokens.begin() + static_cast<std::ptrdiff_t>(columns) * options_.first, tokens.end()});
    fill_cache(keys_, 11);
    fill_cache(values_, 12);
    if (sinks_ != nullptr) set(sinks_, random_floats(random, static_cast<size_t>(options_.heads)));
    if (mask_ == nullptr) return;
    std::vector<ggml_fp16_t> mask;
    for (int64_t row = 0; row < options_.tokens * options_.sequences; ++row) {
        const int64_t token = options_.first + row % options_.tokens;
        for (int64_t position = 0; position < options_.positions; ++position) {
            constexpr ggml_fp16_t kHides = 0xfc00, kOne = 0xbc00;  // -inf, -1
            const bool biased = options_.max_bias > 0 && position % 3 == 0;
            mask.push_back(!is_visible(token, position) ? kHides : biased ? kOne : ggml_fp16_t{0});
        }
    }
    ggml.ggml_backend_tensor_set(mask_, mask.data(), 0, mask.size() * sizeof mask[0]);
}

std::vector<float> AttentionGraph::compute(ggml_backend_t backend) {
    const HostFunctions& ggml = host_.ggml;
    for (ggml_tensor* const result : results_)
        ggml.ggml_backend_tensor_memset(result, 0x44, 0, ggml.ggml_nbytes(result));
    EXPECT_EQ(ggml.ggml_backend_graph_compute(backend, graph_), GGML_STATUS_SUCCESS);
    std::vector<float> all;
    for (ggml_tensor* const result : results_) {
        std::vector<float> values(static_cast<size_t>(ggml.ggml_nelements(result)));
        ggml.ggml_backend_tensor_get(result, values.data(), 0, values.size() * sizeof(float));
        all.insert(all.end(), values.begin(), values.end());
    }
    return all;
}

std::vector<float> AttentionGraph::compute_here(int threads) {
    const HostFunctions& ggml = host_.ggml;
    const BackendPtr backend = new_backend(host_);
    using Set = void (*)(ggml_backend_t, int);
    reinterpret_cast<Set>(ggml.ggml_backend_reg_get_proc_address(host_.plugin, "ggml_backend_set_n_threads"))(
        backend.get(), threads);
    return compute(backend.get());
}

std::vector<float> AttentionGraph::compute_by_ggml() {
    const HostFunctions& ggml = host_.ggml;
    const BackendPtr backend(ggml.ggml_backend_dev_init(ggml.ggml_backend_dev_by_name("CPU"), nullptr),
                             ggml.ggml_backend_free);
    return compute(backend.get());
}

}  // namespace rknpu2::test
