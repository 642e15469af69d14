// SPDX-License-Identifier: MIT
// Which groups of a layer have two planes.
#include <algorithm>
#include <cmath>

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

}  // namespace

int Setting::planes_of(int64_t layer, Group group) const {
    if (planes == Planes::kFast) return 1;
    if (planes == Planes::kBalanced || group == Group::kHead) return 2;
    if (planes == Planes::kCompact) return 1;  // of K and V; two digits have as many bytes
    // Spread evenly over the layers.
    const double share = share_with_two_planes(model, group);
    const auto at = [share](int64_t count) { return std::floor(static_cast<double>(count) * share + 1e-9); };
    return at(layer + 1) > at(layer) ? 2 : 1;
}

}  // namespace rknpu2
