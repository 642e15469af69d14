// SPDX-License-Identifier: MIT
#include "ggml/buffer/pack_together.hpp"

#include <algorithm>

#include "base/format.hpp"
#include "ggml/buffer/buffer.hpp"
#include "ggml/node/describe.hpp"

namespace rknpu2 {
namespace {

// Memory for weights of which none is packed yet, side by side; else empty.
Result<std::vector<ReservedWeight>> reserved_for(Host& host, std::span<const PlannedMatmul> matmuls) {
    const bool any = std::any_of(matmuls.begin(), matmuls.end(),
                                 [&](const PlannedMatmul& matmul) { return is_packed(host, matmul.node); });
    if (matmuls.size() < 2 || any) return std::vector<ReservedWeight>{};
    std::vector<WeightSource> sources;
    sources.reserve(matmuls.size());
    for (const PlannedMatmul& matmul : matmuls)
        sources.push_back(weight_source(host, matmul.node));
    return host.npu->reserve(sources);
}

}  // namespace

Status pack_together(Host& host, std::span<const PlannedMatmul> matmuls,
                     std::vector<std::shared_ptr<const PackedWeight>>& weights) {
    auto reserved = reserved_for(host, matmuls);
    RKNPU2_RETURN_IF_ERROR(reserved.status().with_context("packing"));
    weights.clear();
    for (size_t i = 0; i < matmuls.size(); ++i) {
        auto packed =
            packed_weight(host, matmuls[i], -1, reserved.value().empty() ? nullptr : &reserved.value()[i]);
        RKNPU2_RETURN_IF_ERROR(
            packed.status().with_context(format("packing %s", matmuls[i].node->src[0]->name)));
        weights.push_back(packed.take());
    }
    return {};
}

}  // namespace rknpu2
