// SPDX-License-Identifier: MIT
// Which groups of a layer have two planes, and which weights four bits.
#include <algorithm>
#include <cmath>

#include "calibration/bit_choice.hpp"
#include "predict/stages.hpp"

namespace rknpu2 {
namespace {

// The budget of second planes: this share of the layers' multiplications once more (docs/quality.md).
constexpr double kSecondPlanes = 0.25;
// The weights that measurements give a second plane first; the remainder of the budget goes to the next ones.
constexpr std::array kPlaneOrder = {Group::kAttentionOutput, Group::kDown, Group::kQkv, Group::kGateUp};

double weights_in(const ModelShape& model, Group group) {
    double sum = 0;
    for (const WeightShape& weight : weights_of(model, group))
        sum += static_cast<double>(weight.N * weight.K);
    return sum;
}

// Under statistics, the share of the layers in which that group has two planes.
double share_with_two_planes(const ModelShape& model, Group group) {
    double left = kSecondPlanes * static_cast<double>(model.layer_weights());
    for (const Group next : kPlaneOrder) {
        const double share = std::min(1.0, left / weights_in(model, next));
        if (next == group) return share;
        left -= share * weights_in(model, next);
    }
    return 0;
}

// The kinds of a group's weights, in the order of weights_of().
std::vector<const char*> kinds_of(Group group) {
    switch (group) {
        case Group::kQkv:
            return {"attn_q.", "attn_k.", "attn_v."};
        case Group::kAttentionOutput:
            return {"attn_output."};
        case Group::kGateUp:
            return {"ffn_gate.", "ffn_up."};
        case Group::kDown:
            return {"ffn_down."};
        case Group::kHead:
            return {"output."};
    }
    return {};
}

}  // namespace

std::vector<NpuArithmetic> Setting::arithmetics_of(int64_t layer, Group group) const {
    std::vector<NpuArithmetic> arithmetics(weights_of(model, group).size(), NpuArithmetic::kInt8);
    if (planes != Planes::kCompact || group == Group::kHead) return arithmetics;
    std::vector<BitCandidate> candidates;
    size_t first = 0;
    const auto add = [&](Group next) {
        const std::vector<const char*> kinds = kinds_of(next);
        const std::vector<WeightShape> weights = weights_of(model, next);
        for (size_t i = 0; i < weights.size(); ++i)
            candidates.push_back({.name = kinds[i],
                                  .weights = static_cast<double>(weights[i].N * weights[i].K),
                                  .fixed = next == Group::kHead});
    };
    for (int64_t of = 0; of < model.layers; ++of) {
        for (const Group next : kLayerGroups) {
            if (of == layer && next == group) first = candidates.size();
            add(next);
        }
    }
    add(Group::kHead);
    const std::vector<bool> kept = eight_bits_kept(candidates, compact_bytes);
    for (size_t i = 0; i < arithmetics.size(); ++i)
        if (!kept[first + i]) arithmetics[i] = NpuArithmetic::kInt4;
    return arithmetics;
}

int Setting::planes_of(int64_t layer, Group group) const {
    if (planes == Planes::kFast) return 1;
    if (planes == Planes::kBalanced || group == Group::kHead) return 2;
    if (planes == Planes::kCompact) return 1;  // of eight bits; two digits have as many bytes
    // Spread evenly over the layers.
    const double share = share_with_two_planes(model, group);
    const auto at = [share](int64_t count) { return std::floor(static_cast<double>(count) * share + 1e-9); };
    return at(layer + 1) > at(layer) ? 2 : 1;
}

}  // namespace rknpu2
