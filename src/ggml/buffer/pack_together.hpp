// SPDX-License-Identifier: MIT
// Packs the weights of multiplications by the same activations side by side, so that one run of the NPU can
// do several of them.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "ggml/host/host.hpp"
#include "ggml/node/decision.hpp"

namespace rknpu2 {

// Fills `weights` with those of multiplications that are computed together; what is not packed yet is, side
// by side.
Status pack_together(Host& host, std::span<const PlannedMatmul> matmuls,
                     std::vector<std::shared_ptr<const PackedWeight>>& weights);

}  // namespace rknpu2
