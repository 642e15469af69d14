#include "ggml/matmul_group.hpp"

#include <algorithm>

#include "base/format.hpp"
#include "ggml/buffer.hpp"
#include "ggml/input_version.hpp"
#include "ggml/problem_from_tensor.hpp"

namespace rknpu2 {
namespace {

// Places for weights of which none is packed yet, side by side; else empty.
Result<std::vector<std::shared_ptr<PackedWeight>>> places_for(Host& host,
                                                              const std::vector<ggml_tensor*>& nodes) {
    const bool any = std::any_of(nodes.begin(), nodes.end(),
                                 [&](const ggml_tensor* node) { return is_packed(host, node->src[0]); });
    if (nodes.size() < 2 || any) return std::vector<std::shared_ptr<PackedWeight>>{};
    std::vector<WeightSource> sources;
    sources.reserve(nodes.size());
    for (const ggml_tensor* const node : nodes)
        sources.push_back(weight_source(host, node->src[0]));
    return host.npu->place(sources);
}

}  // namespace

Status pack_together(Host& host, const std::vector<ggml_tensor*>& nodes,
                     std::vector<std::shared_ptr<PackedWeight>>& weights) {
    auto places = places_for(host, nodes);
    RKNPU2_RETURN_IF_ERROR(places.status().with_context("packing"));
    weights.clear();
    for (size_t i = 0; i < nodes.size(); ++i) {
        const ggml_tensor* const weight = nodes[i]->src[0];
        auto packed =
            packed_weight(host, weight, -1, places.value().empty() ? nullptr : std::move(places.value()[i]));
        RKNPU2_RETURN_IF_ERROR(packed.status().with_context(format("packing %s", weight->name)));
        weights.push_back(packed.take());
    }
    return {};
}

bool MatmulGroup::overlaps(const ggml_tensor* a, const ggml_tensor* b) const {
    const auto* const a_data = static_cast<const std::byte*>(a->data);
    const auto* const b_data = static_cast<const std::byte*>(b->data);
    return a_data < b_data + host_.ggml.ggml_nbytes(b) && b_data < a_data + host_.ggml.ggml_nbytes(a);
}

// Can `node` be computed with those before it? Their results must not get into each other's way.
bool MatmulGroup::joins(const ggml_tensor* node) const {
    const ggml_tensor* const activations = nodes_[0]->src[1];
    if (node->src[1] != activations || !multiplies_on_npu(host_, node)) return false;
    for (const ggml_tensor* const other : nodes_) {
        if (overlaps(node, other) || overlaps(other, activations)) return false;
    }
    return true;
}

int MatmulGroup::collect(ggml_cgraph* graph, int first) {
    nodes_.assign(1, graph->nodes[first]);
    int next = first + 1;
    const bool alone = !host_.config.fuse || host_.config.precision == Precision::kReference;
    for (int i = next; !alone && i < graph->n_nodes; ++i) {
        ggml_tensor* const node = graph->nodes[i];
        if (is_no_op(node)) continue;
        if (!joins(node)) break;
        nodes_.push_back(node);
        next = i + 1;
    }
    gate_ = gate_behind(graph, first, next);
    return next;
}

// Nobody may miss the two results: each is read once, by the gate, and is no output; and the gate is not the
// graph's last node, whose sources a host may want to see. Rows of the gate are written while others'
// activations are still read.
ggml_tensor* MatmulGroup::gate_behind(const ggml_cgraph* graph, int first, int& next) const {
    if (nodes_.size() != 2) return nullptr;
    int at = next;
    while (at < graph->n_nodes && is_no_op(graph->nodes[at]))
        ++at;
    if (at + 1 >= graph->n_nodes || graph->use_counts == nullptr || graph->visited_hash_set.size == 0)
        return nullptr;
    ggml_tensor* const node = graph->nodes[at];
    if (!GatedEpilogue::fits(node, nodes_[0], nodes_[1]) || overlaps(node, nodes_[0]->src[1])) return nullptr;
    for (int i = first; i < at; ++i) {
        const bool ours = graph->nodes[i] == nodes_[0] || graph->nodes[i] == nodes_[1];
        if (ours && !ggml_node_has_n_uses(graph, i, 1)) return nullptr;
    }
    next = at + 1;
    return node;
}

Status MatmulGroup::multiply(InputVersion& inputs, const ggml_tensor* one_plane) {
    const ggml_tensor* const activations = nodes_[0]->src[1];
    const auto* const a = static_cast<const float*>(activations->data);
    const auto M = static_cast<size_t>(host_.ggml.ggml_nrows(activations));
    if (host_.calibration != nullptr) {
        for (const ggml_tensor* const node : nodes_) {
            const bool output = (node->flags & GGML_TENSOR_FLAG_OUTPUT) != 0;
            host_.calibration->add(weight_source(host_, node->src[0]), a, M, output);
        }
    }
    if (host_.config.precision == Precision::kReference) {
        return host_.npu->multiply_reference(weight_source(host_, nodes_[0]->src[0]), a, M,
                                             static_cast<float*>(nodes_[0]->data));
    }
    if (gate_ != nullptr) gated_.begin(gate_, nodes_[0]);
    if (Status packed = pack_together(host_, nodes_, weights_); !packed.ok()) {
        weights_.clear();
        return host_.npu->does_without_packing(packed) ? multiply_unpacked({a, M, 0}) : packed;
    }
    products_.clear();
    for (size_t i = 0; i < nodes_.size(); ++i) {
        products_.push_back({weights_[i].get(), static_cast<float*>(nodes_[i]->data),
                             nodes_[i]->src[0] == one_plane ? size_t{1} : size_t{0}});
    }
    Status status = host_.npu->multiply(products_, {a, M, host_.config.fuse ? inputs.of(activations) : 0},
                                        gate_ != nullptr ? &gated_ : nullptr);
    weights_.clear();  // their buffer may be freed before the next graph comes
    return finish(std::move(status));
}

// There is no device memory for the weights.
Status MatmulGroup::multiply_unpacked(const Activations& input) {
    std::vector<NpuDevice::StoredProduct> products;
    for (const ggml_tensor* const node : nodes_)
        products.push_back({weight_source(host_, node->src[0]), static_cast<float*>(node->data)});
    return finish(host_.npu->multiply_stored(products, input, gate_ != nullptr ? &gated_ : nullptr));
}

Status MatmulGroup::finish(Status status) {
    if (gate_ == nullptr || !status.ok()) return status;
    ++host_.statistics->fused_nodes;
    return gated_.status();
}

}  // namespace rknpu2
