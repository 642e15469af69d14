#include "ggml/weights_ahead.hpp"

#include <algorithm>

#include "ggml/buffer.hpp"
#include "ggml/problem_from_tensor.hpp"

namespace rknpu2 {
namespace {

// Of stored weights: enough to be worth a team, and little enough that others who want the team, and a host
// that asks to stop, do not wait long. Pages are given back after each batch.
constexpr uint64_t kBatchBytes = uint64_t{64} << 20;

// Is the last multiplication's weight still to be packed?
bool is_first_graph(const Host& host, const ggml_cgraph* graph) {
    for (int i = graph->n_nodes - 1; i >= 0; --i) {
        if (multiplies_on_npu(host, graph->nodes[i])) return !is_packed(host, graph->nodes[i]->src[0]);
    }
    return false;
}

class Batch {
  public:
    explicit Batch(Host& host) : host_(host) {}

    uint64_t bytes() const { return bytes_; }

    // Gives the weights of multiplications that are computed together their places, side by side. False: it
    // cannot.
    bool add(const std::vector<ggml_tensor*>& nodes) {
        std::vector<WeightSource> sources;
        std::vector<const ggml_tensor*> tensors;
        for (const ggml_tensor* const node : nodes) {
            const ggml_tensor* const weight = node->src[0];
            if (our_buffer(host_, weight->buffer)->poisoned) return false;
            if (is_packed(host_, weight) || is_added(weight)) continue;
            sources.push_back(weight_source(host_, weight));
            tensors.push_back(weight);
        }
        if (sources.empty()) return true;
        auto places = host_.npu->place(sources, NpuDevice::Attempts::kOne);
        if (!places.ok()) return false;
        for (size_t i = 0; i < sources.size(); ++i) {
            bytes_ += sources[i].bytes();
            tensors_.push_back(tensors[i]);
            placed_.push_back({std::move(sources[i]), std::move(places.value()[i])});
        }
        return true;
    }

    // Makes them the weights of their buffers. False: it could not.
    bool finish() {
        host_.npu->load(placed_);
        for (size_t i = 0; i < placed_.size(); ++i) {
            if (!packed_weight(host_, tensors_[i], -1, placed_[i].weight).ok()) return false;
        }
        placed_.clear();
        tensors_.clear();
        bytes_ = 0;
        return true;
    }

  private:
    // Two multiplications may share a weight.
    bool is_added(const ggml_tensor* weight) const {
        return std::any_of(tensors_.begin(), tensors_.end(),
                           [&](const ggml_tensor* tensor) { return tensor->data == weight->data; });
    }

    Host& host_;
    std::vector<NpuDevice::Placed> placed_;
    std::vector<const ggml_tensor*> tensors_;
    uint64_t bytes_ = 0;
};

}  // namespace

void load_weights_ahead(Host& host, ggml_cgraph* graph, MatmulGroup& groups, ggml_abort_callback abort,
                        void* abort_data) {
    if (!host.npu->has_weight_cache() || host.config.precision == Precision::kReference) return;
    if (!is_first_graph(host, graph) || host.npu->is_full()) return;
    // Another backend may be about to load the same.
    const std::lock_guard lock(host.loading_mutex);
    if (!is_first_graph(host, graph)) return;
    Batch batch(host);
    int i = 0;
    while (i < graph->n_nodes) {
        if (!multiplies_on_npu(host, graph->nodes[i])) {
            ++i;
            continue;
        }
        i = groups.collect(graph, i);
        if (!batch.add(groups.nodes())) break;
        if (batch.bytes() < kBatchBytes) continue;
        if (!batch.finish() || (abort != nullptr && abort(abort_data))) return;
    }
    batch.finish();
}

}  // namespace rknpu2
