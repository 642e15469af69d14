// SPDX-License-Identifier: MIT
#include "ggml/node/access.hpp"

#include <algorithm>

namespace rknpu2 {
namespace {

bool writes_what_it_touches(const GgmlFunctions& ggml, const ggml_tensor* writer, const ggml_tensor* other) {
    bool found = false;
    const auto look = [&](const ggml_tensor* tensor) {
        found = found || (tensor != nullptr && writes(ggml, writer, range_of(ggml, tensor)));
    };
    for_each_written(ggml, other, look);
    std::for_each(std::begin(other->src), std::end(other->src), look);
    return found;
}

}  // namespace

MemoryRange range_of(const GgmlFunctions& ggml, const ggml_tensor* tensor) {
    const ggml_tensor* const owner = memory_of(tensor);
    const bool has_memory = tensor->data != nullptr || owner->data != nullptr;
    const uintptr_t begin = tensor->data != nullptr
                                ? reinterpret_cast<uintptr_t>(tensor->data)
                                : reinterpret_cast<uintptr_t>(owner->data) + tensor->view_offs;
    return {has_memory ? nullptr : owner, begin, begin + ggml.ggml_nbytes(tensor)};
}

bool writes_anywhere(const GgmlFunctions& ggml, const ggml_tensor* node) {
    const Op op = ggml.op(node);
    return op == Op::kMapCustom1 || op == Op::kMapCustom2 || op == Op::kMapCustom3 || op == Op::kCustom;
}

bool writes(const GgmlFunctions& ggml, const ggml_tensor* node, const MemoryRange& range) {
    if (writes_anywhere(ggml, node)) return true;
    bool found = false;
    for_each_written(ggml, node, [&](const ggml_tensor* tensor) {
        found = found || overlap(range_of(ggml, tensor), range);
    });
    return found;
}

bool gives_output(const GgmlFunctions& ggml, const ggml_cgraph* graph, const ggml_tensor* product) {
    const auto keeps_elements = [&](const ggml_tensor* node) {
        const Op op = ggml.op(node);
        return op == Op::kScale || op == Op::kClamp || op == Op::kUnary || is_no_op(op);
    };
    const ggml_tensor* numbers = product;
    const ggml_tensor* const* const end = graph->nodes + graph->n_nodes;
    const ggml_tensor* const* node = std::find(end - graph->n_nodes, end, product);
    for (; node != end; ++node) {
        if (*node != product && (!keeps_elements(*node) || (*node)->src[0] != numbers)) continue;
        numbers = *node;
        if ((numbers->flags & GGML_TENSOR_FLAG_OUTPUT) != 0) return true;
    }
    return false;
}

bool conflict(const GgmlFunctions& ggml, const ggml_tensor* a, const ggml_tensor* b) {
    if (is_no_op(ggml.op(a)) || is_no_op(ggml.op(b))) return false;
    return writes_what_it_touches(ggml, a, b) || writes_what_it_touches(ggml, b, a);
}

}  // namespace rknpu2
