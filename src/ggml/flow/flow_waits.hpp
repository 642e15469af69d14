// SPDX-License-Identifier: MIT
// Which chunks of a flow attention must wait for: those that write keys or values which the mask lets it see.
//
// Without a look at the mask a chunk's attention would wait for all chunks, and the NPU with it. A language
// model's mask shows each token the tokens before it, so the first chunk need not wait for any other. What a
// mask hides has no weight, but ggml may read it: minus infinity plus a key, and zero times a value. So rows
// that are still to come must hold finite numbers meanwhile (cache_cells.hpp).
#pragma once

#include <vector>

#include "ggml/flow/flow_plan.hpp"
#include "matmul/npu_flow.hpp"

namespace rknpu2 {

class FlowWaits {
  public:
    explicit FlowWaits(const std::vector<FlowChunk>& chunks) : chunks_(chunks) {}

    // For each chunk: all up to this one, itself included, must have done stage.after before its attention.
    // Valid until the next call.
    const std::vector<size_t>& last_seen(const FlowStage& stage);

  private:
    // Layers share their mask and their indices into the cache. What columns_of() and look() depend on.
    struct Known {
        const ggml_tensor* mask;
        const ggml_tensor* indices;
        std::ptrdiff_t distance;
        size_t written_stride, shown_stride;
        int64_t shown_cells;
        std::vector<size_t> last;

        bool same_as(const Known& other) const {
            return mask == other.mask && indices == other.indices && distance == other.distance &&
                   written_stride == other.written_stride && shown_stride == other.shown_stride &&
                   shown_cells == other.shown_cells;
        }
    };

    std::vector<size_t> look(const ggml_tensor* mask, const FlowStage::CacheRead& read) const;
    std::vector<int64_t> columns_of(const FlowStage::CacheRead& read) const;

    const std::vector<FlowChunk>& chunks_;
    std::vector<Known> known_;
    std::vector<size_t> last_;
};

}  // namespace rknpu2
