// SPDX-License-Identifier: MIT
#include "ggml/graph/matmul_group.hpp"

#include "ggml/buffer/pack_together.hpp"
#include "ggml/node/describe.hpp"

namespace rknpu2 {

Status MatmulGroup::multiply(const Call& call) {
    const ggml_tensor* const activations = call.matmuls.front().node->src[1];
    const auto* const a = static_cast<const float*>(activations->data);
    const auto M = static_cast<size_t>(host_.ggml.ggml_nrows(activations));
    const auto source_of = [&](const PlannedMatmul& matmul) { return weight_source(host_, matmul.node); };
    if (host_.calibration != nullptr) {
        for (const PlannedMatmul& matmul : call.matmuls) {
            const bool output = (matmul.node->flags & GGML_TENSOR_FLAG_OUTPUT) != 0;
            host_.calibration->add(source_of(matmul), a, M, output);
        }
    }
    if (host_.config.precision == Precision::kReference) {
        return host_.npu->multiply_reference(source_of(call.matmuls.front()), a, M,
                                             static_cast<float*>(call.matmuls.front().node->data));
    }
    if (call.gate != nullptr) gated_.begin(call.gate, call.matmuls.front().node);
    if (Status packed = pack_together(host_, call.matmuls, weights_); !packed.ok()) {
        weights_.clear();
        return host_.npu->does_without_packing(packed) ? multiply_unpacked(call, {a, M, 0}) : packed;
    }
    products_.clear();
    for (size_t i = 0; i < call.matmuls.size(); ++i) {
        const ggml_tensor* const node = call.matmuls[i].node;
        products_.push_back({weights_[i].get(), static_cast<float*>(node->data),
                             node->src[0] == call.one_plane ? size_t{1} : size_t{0}});
    }
    Status status =
        host_.npu->multiply(products_, {a, M, call.version}, call.gate != nullptr ? &gated_ : nullptr);
    weights_.clear();  // their buffer may be freed before the next graph comes
    return finish(call, std::move(status));
}

// There is no device memory for the weights.
Status MatmulGroup::multiply_unpacked(const Call& call, const Activations& input) {
    std::vector<NpuDevice::StoredProduct> products;
    for (const PlannedMatmul& matmul : call.matmuls) {
        products.push_back({weight_source(host_, matmul.node), static_cast<float*>(matmul.node->data)});
    }
    return finish(call,
                  host_.npu->multiply_stored(products, input, call.gate != nullptr ? &gated_ : nullptr));
}

Status MatmulGroup::finish(const Call& call, Status status) {
    if (call.gate == nullptr || !status.ok()) return status;
    ++host_.counters->fused_nodes;
    return gated_.status();
}

}  // namespace rknpu2
