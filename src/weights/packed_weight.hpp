// SPDX-License-Identifier: MIT
// A weight in the form the NPU multiplies: the plan's grid of native blocks in device memory, and the scales
// of its channels.
//
// First a weight is reserved: it has a plan and device memory, and nothing in it. From that pack_weight() or
// WeightCache::load() makes a packed weight, which is whole and never changes, so any number of threads may
// multiply with it. Both own the memory, which returns to the pool when the last owner lets go.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/hash.hpp"
#include "device/device_memory.hpp"
#include "plan/weight_source.hpp"

namespace rknpu2 {

struct ActivationStats;

// [segment][tile], as in the plan; all in one domain.
using WeightCells = std::vector<std::vector<Slice>>;

// A channel of very large or very small weights (kernels/far.hpp).
struct FarChannel {
    size_t n;
    float scale;   // far
    float offset;  // zero point, divided by the square root of the scale
};

struct PackedWeight;

struct ReservedWeight {
    WeightSource source;
    const WeightPlan plan;  // the packed one may leave out the rotation
    // What is known of its activations; null: nothing, or its recipe does not ask for it. It lives as long as
    // the device.
    const ActivationStats* stats = nullptr;
    std::shared_ptr<const WeightCells> cells = nullptr;
    // With a cache of packed weights, once the file was looked for: its name, and what was loaded.
    std::optional<Digest> cache_key = std::nullopt;
    std::shared_ptr<const PackedWeight> loaded = nullptr;
    bool is_trial = false;  // to measure with: neither kept there nor listed
};

struct PackedWeight {
    // With vectors that are as long as they will be, and nothing in them yet.
    PackedWeight(const ReservedWeight& reserved, bool rotate)
        : source(reserved.source),
          plan(reserved.plan.with_rotation(rotate)),
          cells(reserved.cells),
          channel_scales(plan.segments.size(), std::vector<float>(plan.N)),
          channel_offsets(rotate ? plan.segments.size() : 0, std::vector<float>(plan.N)),
          input_factors(smooths(reserved) ? plan.K : 0),
          bias(reserved.stats != nullptr ? plan.N : 0) {}

    // What it was packed from. The bytes stay readable for as long as somebody multiplies with it: they are
    // computed with when the NPU fails (GGML_RKNPU2_ON_ERROR).
    WeightSource source;
    const WeightPlan plan;
    const std::shared_ptr<const WeightCells> cells;
    // [segment][n], n < N. What the result is multiplied by; the rotation's factor is in it. From
    // pack_weight() and in files, far channels are among them; separate_far_channels() takes them out.
    std::vector<std::vector<float>> channel_scales;
    // [segment][n], n < N: the zero points of the channels, in the unit of the result for one unit of rotated
    // activation; empty unless the plan rotates.
    std::vector<std::vector<float>> channel_offsets;
    // [segment], ascending; usually empty. Their scales and offsets above are 0.
    std::vector<std::vector<FarChannel>> far_channels;
    // With activation statistics (activation_stats.hpp), else empty: what activations are multiplied by before they
    // are rotated, [K]; and what is added to each result, [N].
    std::vector<float> input_factors;
    std::vector<float> bias;
    // Rows of the cube for each row of activations. The plan's, or more with int4: what these codes need so that no
    // sum leaves its 16 bits (kernels/digits.hpp).
    size_t planes = plan.recipe.planes;

    // Rows for int4 are not smoothed: second moments are those of rows as they are.
    static bool smooths(const ReservedWeight& reserved) {
        return reserved.stats != nullptr && reserved.plan.recipe.arithmetic != NpuArithmetic::kInt4;
    }
    int domain() const { return cells->front().front().domain; }
};

}  // namespace rknpu2
