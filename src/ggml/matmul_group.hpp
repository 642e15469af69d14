// Multiplications that follow each other in a graph and read the same activations, computed as one.
//
// Their weights are packed side by side when none of them is packed yet (NpuDevice::place), so that a run of
// the NPU can do Q, K and V. What a graph brings together (graph_order.hpp) stays a matter of speed: the
// results are the same for any grouping. With GGML_RKNPU2_FUSE=0 and in the reference precision every group
// has one member. One for each backend, used by one thread.
#pragma once

#include <memory>
#include <vector>

#include "ggml/gated_epilogue.hpp"
#include "ggml/host.hpp"

namespace rknpu2 {

class InputVersion;

// Fills `weights` with those of multiplications that are computed together; what is not packed yet is, side
// by side.
Status pack_together(Host& host, const std::vector<ggml_tensor*>& nodes,
                     std::vector<std::shared_ptr<PackedWeight>>& weights);

class MatmulGroup {
  public:
    MatmulGroup(Host& host, OneThreadCpus& cpus) : host_(host), gated_(host, cpus) {}

    // The node at `first`, which must be the NPU's, and those after it that can be computed with it. Returns
    // the index of the first node that is not done then.
    int collect(ggml_cgraph* graph, int first);
    // The multiplications.
    const std::vector<ggml_tensor*>& nodes() const { return nodes_; }
    // The gate that is computed with them, or null. The results of the multiplications are then not written.
    ggml_tensor* gate() const { return gate_; }

    // Packs what is not packed, and multiplies. `one_plane`: a weight whose activations go without their
    // second plane, or null.
    Status multiply(InputVersion& inputs, const ggml_tensor* one_plane);

  private:
    Status multiply_unpacked(const Activations& input);
    Status finish(Status status);
    ggml_tensor* gate_behind(const ggml_cgraph* graph, int first, int& next) const;
    bool joins(const ggml_tensor* node) const;
    bool overlaps(const ggml_tensor* a, const ggml_tensor* b) const;

    Host& host_;
    std::vector<ggml_tensor*> nodes_;
    ggml_tensor* gate_ = nullptr;
    GatedEpilogue gated_;
    std::vector<std::shared_ptr<PackedWeight>> weights_;
    std::vector<NpuDevice::Product> products_;
};

}  // namespace rknpu2
