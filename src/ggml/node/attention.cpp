// SPDX-License-Identifier: MIT
#include "ggml/node/attention.hpp"

#include <cmath>
#include <cstring>

#include "base/log.hpp"
#include "ggml/node/describe.hpp"
#include "matmul/npu_device.hpp"

namespace rknpu2 {
namespace {

enum Source : size_t { kQueries, kKeys, kValues, kMask, kSinks };

float parameter(const ggml_tensor* node, size_t index) {
    float value = 0;
    std::memcpy(&value, node->op_params + index, sizeof value);
    return value;
}

size_t elements(const ggml_tensor* tensor, int dimension) {
    return static_cast<size_t>(tensor->ne[dimension]);
}

// Keys or values: rows of whole blocks, of halves or of a type that becomes floats.
bool can_read(const Host& host, const ggml_tensor* cache) {
    const DequantiseRow dequantise = dequantise_of(host, cache);
    if (cache->type != GGML_TYPE_F16 && dequantise == nullptr) return false;
    return cache->nb[0] == host.ggml.ggml_type_size(cache->type) &&
           cache->ne[0] % host.ggml.ggml_blck_size(cache->type) == 0;
}

bool shapes_agree(const ggml_tensor* node) {
    const ggml_tensor* const q = node->src[kQueries];
    const ggml_tensor* const k = node->src[kKeys];
    const ggml_tensor* const v = node->src[kValues];
    for (const ggml_tensor* const tensor : {node, q, k, v})
        for (const int64_t size : tensor->ne)
            if (size < 1 || size > INT32_MAX) return false;
    const bool heads = q->ne[2] % k->ne[2] == 0 && v->ne[2] == k->ne[2] && node->ne[1] == q->ne[2];
    const bool rows = node->ne[2] == q->ne[1] && node->ne[3] == q->ne[3] && v->ne[1] == k->ne[1];
    return heads && rows && q->ne[0] == k->ne[0] && node->ne[0] == v->ne[0] && q->ne[3] % k->ne[3] == 0 &&
           q->ne[3] % v->ne[3] == 0;
}

bool can_mask(const ggml_tensor* node) {
    const ggml_tensor* const mask = node->src[kMask];
    if (mask == nullptr) return true;
    const ggml_tensor* const q = node->src[kQueries];
    return mask->type == GGML_TYPE_F16 && mask->nb[0] == sizeof(uint16_t) &&
           mask->ne[0] >= node->src[kKeys]->ne[1] && mask->ne[1] >= q->ne[1] && mask->ne[2] > 0 &&
           q->ne[2] % mask->ne[2] == 0 && mask->ne[3] > 0 && q->ne[3] % mask->ne[3] == 0;
}

bool can_compute(const Host& host, const ggml_tensor* node) {
    for (const Source operand : {kQueries, kKeys, kValues})
        if (node->src[operand] == nullptr) return false;
    const ggml_tensor* const q = node->src[kQueries];
    const ggml_tensor* const sinks = node->src[kSinks];
    const bool floats = q->type == GGML_TYPE_F32 && q->nb[0] == sizeof(float) &&
                        node->type == GGML_TYPE_F32 && node->nb[0] == sizeof(float);
    if (!floats || !shapes_agree(node) || !can_mask(node)) return false;
    if (sinks != nullptr &&
        (sinks->type != GGML_TYPE_F32 || sinks->ne[0] != q->ne[2] || sinks->nb[0] != sizeof(float)))
        return false;
    return can_read(host, node->src[kKeys]) && can_read(host, node->src[kValues]) &&
           NpuAttention::possible(attention_problem(host, node, 0));
}

CacheRows cache_rows(const Host& host, const ggml_tensor* node, Source operand, int64_t sequence) {
    const ggml_tensor* const cache = node->src[operand];
    // Several sequences of queries may share one of keys.
    const int64_t of_cache = sequence / (node->src[kQueries]->ne[3] / cache->ne[3]);
    return {row_of<const std::byte>(cache, 0, 0, of_cache), cache->nb[1], cache->nb[2], elements(cache, 0),
            cache->type == GGML_TYPE_F16 ? nullptr : dequantise_of(host, cache)};
}

}  // namespace

AttentionReason choose_attention(const Host& host, const ggml_tensor* node) {
    bool possible = host.npu != nullptr && can_compute(host, node);
    // Who has a cache of floats wants no halves.
    for (const Source cache : {kKeys, kValues})
        if (possible && host.config.attention == Attention::kAuto)
            possible = node->src[cache]->type != GGML_TYPE_F32;
    const ggml_tensor *const q = node->src[kQueries], *const k = node->src[kKeys];
    const AttentionCall call =
        possible ? AttentionCall{elements(q, 1), elements(q, 2) / elements(k, 2), elements(k, 1)}
                 : AttentionCall{};
    const AttentionReason reason = attention_target(possible, call, host.config);
    return reason == AttentionReason::kOnNpu && is_refused(host, node) ? AttentionReason::kNoRoom : reason;
}

bool is_refused(const Host& host, const ggml_tensor* node) {
    return host.attention_refusals.has(attention_problem(host, node, 0), host.npu->resources().given_back);
}

void note_refusal(Host& host, const ggml_tensor* node, const Status& why) {
    const AttentionProblem problem = attention_problem(host, node, 0);
    if (!host.attention_refusals.add(problem, host.npu->resources().given_back)) return;
    log(LogLevel::kWarning, "%s: %s: the CPU computes this attention, which is slower", node->name,
        why.to_string().c_str());
}

void note_computed(Host& host, const ggml_tensor* node) {
    host.attention_refusals.computed(attention_problem(host, node, 0));
}

AttentionProblem attention_problem(const Host& host, const ggml_tensor* node, int64_t sequence) {
    const ggml_tensor* const q = node->src[kQueries];
    AttentionProblem problem;
    problem.name = node->name;
    problem.tokens = elements(q, 1);
    problem.positions = elements(node->src[kKeys], 1);
    problem.heads = elements(q, 2);
    problem.kv_heads = elements(node->src[kKeys], 2);
    problem.queries = row_of<const std::byte>(q, 0, 0, sequence);
    problem.query_token_bytes = q->nb[1];
    problem.query_head_bytes = q->nb[2];
    problem.keys = cache_rows(host, node, kKeys, sequence);
    problem.values = cache_rows(host, node, kValues, sequence);
    if (const ggml_tensor* const mask = node->src[kMask]; mask != nullptr) {
        problem.mask = row_of<const std::byte>(mask, 0, 0, sequence % mask->ne[3]);
        problem.mask_token_bytes = mask->nb[1];
        problem.mask_head_bytes = mask->nb[2];
        problem.mask_heads = elements(mask, 2);
    }
    if (node->src[kSinks] != nullptr) problem.sinks = static_cast<const float*>(node->src[kSinks]->data);
    problem.scale = parameter(node, 0);
    problem.max_bias = parameter(node, 1);
    problem.softcap = std::fabs(parameter(node, 2));
    problem.out = row_of<std::byte>(node, 0, 0, sequence);
    problem.out_token_bytes = node->nb[2];
    problem.out_head_bytes = node->nb[1];
    return problem;
}

TokenOfAttention::TokenOfAttention(const GgmlFunctions& ggml, const ggml_tensor* node, int64_t sequence,
                                   int64_t token)
    : node_(ggml, *node) {
    sources_.reserve(GGML_MAX_SRC);
    const int64_t sequences = node->ne[3];
    for (size_t i = 0; i < GGML_MAX_SRC; ++i) {
        if (node->src[i] == nullptr) continue;
        ggml_tensor* const source = sources_.emplace_back(ggml, *node->src[i]).get();
        node_->src[i] = source;
        if (i == kSinks) continue;
        const bool cache = i == kKeys || i == kValues;
        const int64_t shown = i == kMask ? sequence % source->ne[3] : sequence / (sequences / source->ne[3]);
        source->data = row_of<std::byte>(source, cache ? 0 : token, 0, shown);
        if (!cache) source->ne[1] = 1;
        source->ne[3] = 1;
    }
    node_->data = row_of<std::byte>(node_.get(), 0, token, sequence);
    node_->ne[2] = node_->ne[3] = 1;
}

}  // namespace rknpu2
