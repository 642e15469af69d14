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

bool conflict(const GgmlFunctions& ggml, const ggml_tensor* a, const ggml_tensor* b) {
    if (is_no_op(ggml.op(a)) || is_no_op(ggml.op(b))) return false;
    return writes_what_it_touches(ggml, a, b) || writes_what_it_touches(ggml, b, a);
}

}  // namespace rknpu2
