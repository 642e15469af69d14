// SPDX-License-Identifier: MIT
// What activation statistics are good for when a weight is packed.
//
// *Smoothing*: a channel whose activations are large is made smaller before it is rounded, and its weights
// larger, by factors that cancel in the product. With the root of each channel's root mean square as the
// factor, activations and weights share what one of them would have to bear. Matmuls that read the same
// activations have the same statistics, hence the same factors.
//
// *Bias correction*: rounding changes each weight by a known amount; times the mean of the activations, that
// is a known error of every result, which is taken off again.
#pragma once

#include <vector>

#include "calibration/activation_stats.hpp"

namespace rknpu2 {

// [K], positive, finite, with a geometric mean of about 1: what activations are multiplied by and weights are
// divided by. Channels that were (almost) never active count as kQuietest times the loudest.
inline constexpr float kQuietest = 1e-5F;
std::vector<float> smoothing_factors(const ActivationStats& statistics);

}  // namespace rknpu2
