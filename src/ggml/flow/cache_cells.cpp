// SPDX-License-Identifier: MIT
#include "ggml/flow/cache_cells.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels/attention.hpp"

namespace rknpu2 {
namespace {

constexpr int64_t kNoColumn = INT64_MIN;

// From where it is shown to where it is written, in bytes.
std::ptrdiff_t distance_of(const FlowStage::CacheRead& read) {
    return static_cast<const char*>(read.writer->data) - static_cast<const char*>(read.shown->data);
}

// From one stream's cells to the next one's.
int64_t stream_bytes_of(const FlowStage::CacheRead& read) {
    return read.shown->ne[3] > 1 ? static_cast<int64_t>(read.shown->nb[3]) : 0;
}

// The cell that a SET_ROWS writes a row of the flow to; -1: none, or it cannot be told.
int64_t cell_of(const ggml_tensor* writer, int64_t row) {
    const ggml_tensor* const indices = writer->src[1];
    const auto* const at =
        static_cast<const char*>(indices->data) + static_cast<size_t>(row) * indices->nb[0];
    int64_t cell = -1;
    if (indices->type == GGML_TYPE_I64) {
        std::memcpy(&cell, at, sizeof cell);
    } else if (indices->type == GGML_TYPE_I32) {
        int32_t narrow = -1;
        std::memcpy(&narrow, at, sizeof narrow);
        cell = narrow;
    }
    return cell < writer->ne[1] ? std::max<int64_t>(cell, -1) : -1;
}

}  // namespace

// For each row of the flow: the column of the first stream's mask for the cell that it is written to, whether
// it is shown there or not; kNoColumn if it is written to none. Empty when that cannot be told.
std::vector<int64_t> FlowWaits::columns_of(const FlowStage::CacheRead& read) const {
    const auto stride = static_cast<int64_t>(read.writer->nb[1]);
    const std::ptrdiff_t distance = distance_of(read);
    const int64_t stream_bytes = stream_bytes_of(read);
    if (read.writer->src[1]->type != GGML_TYPE_I64 || read.shown->nb[1] != read.writer->nb[1] ||
        distance % stride != 0 || stream_bytes % stride != 0)
        return {};
    std::vector<int64_t> columns(chunks_.back().m0 + chunks_.back().count, kNoColumn);
    for (size_t m = 0; m < columns.size(); ++m) {
        const int64_t cell = cell_of(read.writer, static_cast<int64_t>(m));
        if (cell >= 0) columns[m] = cell + distance / stride;
    }
    return columns;
}

// For each chunk: the last one whose cells some row of it sees.
std::vector<size_t> FlowWaits::look(const ggml_tensor* mask, const FlowStage::CacheRead& read) const {
    std::vector<size_t> last(chunks_.size(), chunks_.size() - 1);
    if (mask == nullptr || mask->type != GGML_TYPE_F16 || mask->ne[2] != 1) return last;
    const std::vector<int64_t> columns = columns_of(read);
    if (columns.empty()) return last;
    const int64_t stream_cells = stream_bytes_of(read) / static_cast<int64_t>(read.shown->nb[1]);
    const auto sees = [&](const FlowChunk& chunk, const FlowChunk& other) {
        for (size_t m = chunk.m0; m < chunk.m0 + chunk.count; ++m) {
            const auto [stream, t] = std::lldiv(static_cast<int64_t>(m), stream_rows_);
            const auto* const row = row_of<const uint16_t>(mask, t, 0, stream);
            for (size_t n = other.m0; n < other.m0 + other.count; ++n) {
                // The cell may be another stream's.
                const int64_t column = columns[n] - stream * stream_cells;
                const bool shown = columns[n] != kNoColumn && column >= 0 && column < read.shown->ne[1];
                if (shown && row[column] != kHiddenMask) return true;
            }
        }
        return false;
    };
    for (size_t chunk = 0; chunk < chunks_.size(); ++chunk)
        while (last[chunk] > chunk && !sees(chunks_[chunk], chunks_[last[chunk]]))
            --last[chunk];
    return last;
}

size_t FlowWaits::last_seen(const FlowStage& stage, size_t chunk) {
    const ggml_tensor* const mask = stage.nodes[0].node->src[3];
    size_t last = chunk;
    for (const FlowStage::CacheRead& read : stage.cache_reads) {
        const Key key{mask,
                      read.writer->src[1],
                      distance_of(read),
                      stream_bytes_of(read),
                      read.writer->nb[1],
                      read.shown->nb[1],
                      read.shown->ne[1]};
        const auto [known, added] = known_.try_emplace(key);
        if (added) known->second = look(mask, read);
        last = std::max(last, known->second[chunk]);
    }
    return last;
}

void clear_cache_cells(const GgmlFunctions& ggml, const ggml_tensor* writer, int64_t first, int64_t count) {
    // From the first byte of the first row to the last byte of the last one, less the distance of the two.
    const size_t row_bytes =
        ggml.ggml_nbytes(writer) - static_cast<size_t>(writer->ne[1] - 1) * writer->nb[1];
    for (int64_t row = first; row < first + count; ++row) {
        const int64_t cell = cell_of(writer, row);
        if (cell >= 0) std::memset(row_of<std::byte>(writer, cell), 0, row_bytes);
    }
}

}  // namespace rknpu2
