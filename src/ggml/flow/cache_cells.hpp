// SPDX-License-Identifier: MIT
// Cache cells, which are tokens' places in a KV cache, that a flow writes and its attention reads.
//
// One by one, all rows of a prompt are written to the cache before attention reads it. In a flow, attention
// of the first chunk runs before the last chunk has written its rows. Two things keep the results:
//
// *Waiting.* Attention waits for the chunks that write keys or values which the mask lets it see. Without a
// look at the mask it would wait for all chunks, and the NPU with it. A language model's mask shows each
// token the tokens before it, so the first chunk need not wait for any other.
//
// *Clearing.* ggml's attention computes with hidden cells, too: a key is added to minus infinity, a value is
// multiplied by zero. An infinity or a NaN of an earlier request there would make the result NaN. So the
// cells are set to zero bytes, which are the number 0 in every type of ggml, before the first chunk writes.
// The old content is not needed: the flow writes every one of these cells.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "ggml/flow/flow_plan.hpp"
#include "matmul/npu_flow.hpp"

namespace rknpu2 {

// One object for each FlowExecution, used by one thread.
class FlowWaits {
  public:
    // The chunks must stay. stream_rows: FlowPlan::stream_rows.
    FlowWaits(const std::vector<FlowChunk>& chunks, int64_t stream_rows)
        : chunks_(chunks), stream_rows_(stream_rows) {}

    // Returns c, `chunk` or more: attention of `chunk` may begin when chunks 0 .. c have done stage.after.
    size_t last_seen(const FlowStage& stage, size_t chunk);

  private:
    // What look() depends on: mask, indices, distance, distance of streams, strides of what is written and shown,
    // shown cells.
    using Key =
        std::tuple<const ggml_tensor*, const ggml_tensor*, std::ptrdiff_t, int64_t, size_t, size_t, int64_t>;

    std::vector<size_t> look(const ggml_tensor* mask, const FlowStage::CacheRead& read) const;
    std::vector<int64_t> columns_of(const FlowStage::CacheRead& read) const;

    const std::vector<FlowChunk>& chunks_;
    const int64_t stream_rows_;
    std::map<Key, std::vector<size_t>> known_;  // layers share their mask and their indices
};

// Sets rows first .. first + count - 1 of the flow to zero where `writer`, a SET_ROWS, will write them.
// Indices of no cell are left out: the host's own function reports them. Several threads may clear different
// rows, as long as no row of the flow has been written.
void clear_cache_cells(const GgmlFunctions& ggml, const ggml_tensor* writer, int64_t first, int64_t count);

}  // namespace rknpu2
