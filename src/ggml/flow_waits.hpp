// Which chunks of a flow attention must wait for: those that write keys or values which the mask lets it see.
//
// Without a look at the mask a chunk's attention would wait for all chunks, and the NPU with it. A language
// model's mask shows each token the tokens before it, so the first chunk need not wait for any other. What a
// mask hides is not read: its score is minus infinity whatever the cache holds there.
#pragma once

#include <vector>

#include "ggml/flow_plan.hpp"
#include "matmul/npu_flow.hpp"

namespace rknpu2 {

class FlowWaits {
  public:
    explicit FlowWaits(const std::vector<NpuFlow::Chunk>& chunks) : chunks_(chunks) {}

    // For each chunk: all up to this one, itself included, must have done stage.after before its attention.
    // Valid until the next call.
    const std::vector<size_t>& last_seen(const FlowStage& stage);

  private:
    // Layers share their mask and their places in the cache.
    struct Known {
        const void* mask;
        const void* places;
        std::ptrdiff_t distance;
        size_t stride;
        std::vector<size_t> last;
    };

    std::vector<size_t> look(const ggml_tensor* attention, const ggml_tensor* writer,
                             const ggml_tensor* shown) const;
    std::vector<int64_t> columns_of(const ggml_tensor* writer, const ggml_tensor* shown) const;

    const std::vector<NpuFlow::Chunk>& chunks_;
    std::vector<Known> known_;
    std::vector<size_t> last_;
};

}  // namespace rknpu2
