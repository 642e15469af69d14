// SPDX-License-Identifier: MIT
#include "kernels/few_tokens.hpp"

#include <bit>
#include <cmath>
#include <iterator>

#include "kernels/lanes/attention_lanes.hpp"
#include "kernels/lanes/generic.hpp"

namespace rknpu2 {

float fine_exp2(float x) {
    if (x < lanes::kFewLowest) x = lanes::kFewLowest;
    const float t = x + lanes::kFewMagic;
    const float f = x - (t - lanes::kFewMagic);
    float p = lanes::kTanhExp2[0];
    for (size_t i = 1; i < std::size(lanes::kTanhExp2); ++i)
        p = std::fma(p, f, lanes::kTanhExp2[i]);
    return p * std::bit_cast<float>(std::bit_cast<uint32_t>(t) << 23);
}

void score_few(const FewScores& scores, KernelTier tier) {
    of_tier(tier, generic::score_few, avx2::score_few)(scores);
}

void weigh_few(const FewWeights& weights, KernelTier tier) {
    of_tier(tier, generic::weigh_few, avx2::weigh_few)(weights);
}

void add_few(const FewValues& values, KernelTier tier) {
    of_tier(tier, generic::add_few, avx2::add_few)(values);
}

void widen_few(const uint16_t* halves, size_t width, float* floats, KernelTier tier) {
    of_tier(tier, generic::widen_few, avx2::widen_few)(halves, width, floats);
}

}  // namespace rknpu2
