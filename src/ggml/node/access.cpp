// SPDX-License-Identifier: MIT
#include "ggml/node/access.hpp"

#include <algorithm>

namespace rknpu2 {
namespace {

bool writes_what_it_touches(const GgmlFunctions& ggml, const ggml_tensor* writer, const ggml_tensor* other) {
    bool found = false;
    for_each_written(other, [&](const ggml_tensor* tensor) {
        found = found || writes(ggml, writer, range_of(ggml, tensor));
    });
    return found || std::any_of(std::begin(other->src), std::end(other->src), [&](const ggml_tensor* source) {
               return source != nullptr && writes(ggml, writer, range_of(ggml, source));
           });
}

}  // namespace

MemoryRange range_of(const GgmlFunctions& ggml, const ggml_tensor* tensor) {
    const ggml_tensor* const owner = memory_of(tensor);
    const size_t bytes = ggml.ggml_nbytes(tensor);
    const auto* data = static_cast<const std::byte*>(tensor->data);
    if (data == nullptr && owner->data != nullptr)
        data = static_cast<const std::byte*>(owner->data) + tensor->view_offs;
    const auto address = reinterpret_cast<uintptr_t>(data);
    if (data != nullptr) return {nullptr, address, address + bytes};
    const size_t offset = tensor == owner ? 0 : tensor->view_offs;
    return {owner, offset, offset + bytes};
}

bool writes_anywhere(const ggml_tensor* node) {
    switch (node->op) {
        case GGML_OP_MAP_CUSTOM1:
        case GGML_OP_MAP_CUSTOM2:
        case GGML_OP_MAP_CUSTOM3:
        case GGML_OP_CUSTOM:
            return true;
        default:
            return false;
    }
}

bool writes(const GgmlFunctions& ggml, const ggml_tensor* node, const MemoryRange& range) {
    if (writes_anywhere(node)) return true;
    bool found = false;
    for_each_written(
        node, [&](const ggml_tensor* tensor) { found = found || overlap(range_of(ggml, tensor), range); });
    return found;
}

bool conflict(const GgmlFunctions& ggml, const ggml_tensor* a, const ggml_tensor* b) {
    if (is_no_op(a) || is_no_op(b)) return false;
    return writes_what_it_touches(ggml, a, b) || writes_what_it_touches(ggml, b, a);
}

}  // namespace rknpu2
