// SPDX-License-Identifier: MIT
#include "ggml/flow/flow_waits.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace rknpu2 {
namespace {

constexpr uint16_t kMinusInfinity = 0xFC00;  // as fp16

// From where it is shown to where it is written, in bytes.
std::ptrdiff_t distance_of(const FlowStage::CacheRead& read) {
    return static_cast<const char*>(read.writer->data) - static_cast<const char*>(read.shown->data);
}

}  // namespace

// For each row of the flow: the column of the mask for what is written of it; -1 if it is not shown. Empty
// when that cannot be told.
std::vector<int64_t> FlowWaits::columns_of(const FlowStage::CacheRead& read) const {
    const ggml_tensor& writer = *read.writer;
    const ggml_tensor& shown = *read.shown;
    const ggml_tensor* const indices = writer.src[1];
    const auto stride = static_cast<int64_t>(writer.nb[1]);
    const std::ptrdiff_t distance = distance_of(read);
    if (indices->type != GGML_TYPE_I64 || shown.nb[1] != writer.nb[1] || distance % stride != 0) return {};
    std::vector<int64_t> columns(chunks_.back().m0 + chunks_.back().count);
    for (size_t m = 0; m < columns.size(); ++m) {
        int64_t index = 0;
        std::memcpy(&index, static_cast<const char*>(indices->data) + m * indices->nb[0], sizeof(index));
        const int64_t column = index + distance / stride;
        columns[m] = column >= 0 && column < shown.ne[1] ? column : -1;
    }
    return columns;
}

std::vector<size_t> FlowWaits::look(const ggml_tensor* mask, const FlowStage::CacheRead& read) const {
    const bool known = mask != nullptr && mask->type == GGML_TYPE_F16 && mask->ne[2] == 1 && mask->ne[3] == 1;
    const std::vector<int64_t> columns = known ? columns_of(read) : std::vector<int64_t>{};
    std::vector<size_t> last(chunks_.size(), chunks_.size() - 1);
    if (columns.empty()) return last;
    const auto sees = [&](const FlowChunk& chunk, const FlowChunk& other) {
        for (size_t m = chunk.m0; m < chunk.m0 + chunk.count; ++m) {
            const auto* const row =
                reinterpret_cast<const uint16_t*>(static_cast<const char*>(mask->data) + m * mask->nb[1]);
            for (size_t n = other.m0; n < other.m0 + other.count; ++n)
                if (columns[n] >= 0 && row[columns[n]] != kMinusInfinity) return true;
        }
        return false;
    };
    for (size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
        while (last[chunk] > chunk && !sees(chunks_[chunk], chunks_[last[chunk]]))
            --last[chunk];
    }
    return last;
}

const std::vector<size_t>& FlowWaits::last_seen(const FlowStage& stage) {
    const ggml_tensor* const mask = stage.nodes[0].node->src[3];
    last_.resize(chunks_.size());
    std::iota(last_.begin(), last_.end(), size_t{0});
    for (const FlowStage::CacheRead& read : stage.cache_reads) {
        const Known wanted{mask,
                           read.writer->src[1],
                           distance_of(read),
                           read.writer->nb[1],
                           read.shown->nb[1],
                           read.shown->ne[1],
                           {}};
        auto known = std::find_if(known_.begin(), known_.end(),
                                  [&](const Known& other) { return other.same_as(wanted); });
        if (known == known_.end()) {
            known = known_.insert(known_.end(), wanted);
            known->last = look(mask, read);
        }
        for (size_t chunk = 0; chunk < last_.size(); ++chunk)
            last_[chunk] = std::max(last_[chunk], known->last[chunk]);
    }
    return last_;
}

}  // namespace rknpu2
