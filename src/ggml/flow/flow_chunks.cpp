// SPDX-License-Identifier: MIT
#include "ggml/flow/flow_chunks.hpp"

#include <algorithm>

#include "plan/cost_model.hpp"

namespace rknpu2 {

int64_t best_chunk_rows(const Host& host, const FlowPlan& plan) {
    if (std::ranges::none_of(plan.stages, &FlowStage::on_npu)) return kFlowChunkRows;
    std::vector<ProductShape> products;
    for (const auto& group : plan.groups)
        for (const ggml_tensor* const matmul : group)
            products.push_back(
                {static_cast<size_t>(matmul->src[0]->ne[0]), static_cast<size_t>(matmul->ne[0])});
    const NpuArithmetic arithmetic = recipe_of(host.config.precision).arithmetic;
    return std::min(flow_chunk_rows(kBoardRates, arithmetic, products, plan.rows),
                    static_cast<int64_t>(kMaxFlowRows));
}

// Streams that are shorter than kFlowChunkRows are whole, and as many as make that go together. So attention gets fewer
// rows of a stream at a time only if the stream has no more: the host's function for few rows is another one.
std::vector<FlowChunk> cut_rows(const FlowPlan& plan, int64_t most) {
    const int64_t streams = std::max<int64_t>((kFlowChunkRows + plan.stream_rows - 1) / plan.stream_rows, 1);
    const int64_t whole = streams * plan.stream_rows;
    std::vector<FlowChunk> chunks;
    for (int64_t first = 0; first < plan.rows; first += whole) {
        const int64_t end = std::min(first + whole, plan.rows);
        for (int64_t m = first; m < end;) {
            const int64_t count = next_chunk_rows(end - m, most);
            chunks.push_back({static_cast<size_t>(m), static_cast<size_t>(count)});
            m += count;
        }
    }
    return chunks;
}

}  // namespace rknpu2
