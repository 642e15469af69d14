// SPDX-License-Identifier: MIT
// Multiplications that follow each other in a graph and read the same activations, computed as one
// (Step::Kind::kGroup, graph_plan.hpp).
//
// Their weights are packed side by side when none of them is packed yet (NpuDevice::reserve), so that a run
// of the NPU can do Q, K and V. What is computed together stays a matter of speed: the results are the same
// for any grouping. One object for each backend, used by one thread.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "ggml/cpu/gated_epilogue.hpp"
#include "ggml/host/host.hpp"
#include "ggml/node/decision.hpp"

namespace rknpu2 {

class MatmulGroup {
  public:
    MatmulGroup(Host& host, OneThreadCpus& cpus) : host_(host), gated_(host, cpus) {}

    struct Call {
        std::span<const PlannedMatmul> matmuls;
        // Computed from the results of two multiplications, which are then not written; or null.
        ggml_tensor* gate = nullptr;
        // What the activations hold (Activations::version); 0: they are nobody else's.
        uint64_t version = 0;
        // A weight whose activations go without their second plane, or null.
        const ggml_tensor* one_plane = nullptr;
    };
    // Packs what is not packed, and multiplies.
    Status multiply(const Call& call);

  private:
    Status multiply_unpacked(const Call& call, const Activations& input);
    Status finish(const Call& call, Status status);

    Host& host_;
    GatedEpilogue gated_;
    std::vector<std::shared_ptr<const PackedWeight>> weights_;
    std::vector<NpuDevice::Product> products_;
};

}  // namespace rknpu2
