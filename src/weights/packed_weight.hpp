// SPDX-License-Identifier: MIT
// A weight in the form the NPU multiplies: the plan's grid of native blocks in device memory, and the scales
// of its channels.
//
// Owned by whoever packed it; when the last owner lets go, the device memory returns to the pool. Immutable
// once packed, so any number of threads may multiply with it.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "base/hash.hpp"
#include "device/device_memory.hpp"
#include "plan/weight_plan.hpp"
#include "plan/weight_source.hpp"

namespace rknpu2 {

struct ActivationStats;

// A channel of very large or very small weights (kernels/far.hpp).
struct FarChannel {
    size_t n;
    float scale;   // far
    float offset;  // zero point, divided by the square root of the scale
};

struct PackedWeight {
    WeightPlan plan;
    // What it was packed from. The bytes stay readable for as long as somebody multiplies with it: they are
    // computed with when the NPU fails (GGML_RKNPU2_ON_ERROR).
    WeightSource source;
    // What is known of its activations; nullptr: nothing, or its recipe does not ask for it. It lives as long
    // as the device.
    const ActivationStats* stats = nullptr;
    // [segment][tile], as in the plan.
    std::vector<std::vector<DeviceMemoryPool::Slice>> cells;
    // [segment][n], n < N. What the result is multiplied by; the rotation's factor is in it. From
    // pack_weight() and from files, far channels are among them; separate_far_channels() takes them out.
    std::vector<std::vector<float>> channel_scales;
    // [segment][n], n < N: the zero points of the channels, in the unit of the result for one unit of rotated
    // activation; empty when channels are symmetric.
    std::vector<std::vector<float>> channel_offsets;
    // [segment], ascending; usually empty. Their scales and offsets above are 0.
    std::vector<std::vector<FarChannel>> far_channels;
    // With activation statistics (smoothing.hpp), else empty: what activations are multiplied by before they
    // are rotated, [K]; and what is added to each result, [N].
    std::vector<float> input_factors;
    std::vector<float> bias;
    // With a cache of packed weights: what its file is called, once that was looked for, and whether all the
    // above came from there.
    std::optional<Digest> cache_key;
    bool loaded = false;
    // Gives the cells back; set by the device that made them.
    std::function<void(const PackedWeight&)> release;

    // The NPU's address space that all cells are in.
    int domain() const { return cells[0][0].domain; }

    PackedWeight() = default;
    PackedWeight(const PackedWeight&) = delete;
    PackedWeight& operator=(const PackedWeight&) = delete;
    ~PackedWeight() {
        if (release) release(*this);
    }
};

}  // namespace rknpu2
