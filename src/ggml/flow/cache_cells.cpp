// SPDX-License-Identifier: MIT
#include "ggml/flow/cache_cells.hpp"

#include <cstring>

namespace rknpu2 {
namespace {

// Which row of the cache; -1 if it cannot be told.
int64_t index_of(const ggml_tensor* indices, int64_t row) {
    const auto* const at =
        static_cast<const char*>(indices->data) + static_cast<size_t>(row) * indices->nb[0];
    if (indices->type == GGML_TYPE_I64) {
        int64_t index = -1;
        std::memcpy(&index, at, sizeof(index));
        return index;
    }
    int32_t index = -1;
    if (indices->type == GGML_TYPE_I32) std::memcpy(&index, at, sizeof(index));
    return index;
}

}  // namespace

void clear_cache_cells(const GgmlFunctions& ggml, const ggml_tensor* writer, int64_t first, int64_t count) {
    // From the first byte of the first row to the last byte of the last one, less the distance of the two.
    const size_t row_bytes =
        ggml.ggml_nbytes(writer) - static_cast<size_t>(writer->ne[1] - 1) * writer->nb[1];
    for (int64_t row = first; row < first + count; ++row) {
        const int64_t index = index_of(writer->src[1], row);
        if (index < 0 || index >= writer->ne[1]) continue;
        std::memset(static_cast<char*>(writer->data) + static_cast<size_t>(index) * writer->nb[1], 0,
                    row_bytes);
    }
}

}  // namespace rknpu2
