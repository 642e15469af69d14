// SPDX-License-Identifier: MIT
// What activation statistics are good for when a weight is packed.
//
// *Smoothing*: a channel of large activations is made smaller before it is rounded, and its weights larger, by
// factors that cancel in the product. The factor is the root of the channel's root mean square, so activations
// and weights share what one of them would have to bear. Weights that read the same activations have equal
// statistics, hence equal factors.
//
// *Bias correction*: rounding changes each weight by a known amount. Times the mean of the activations, that
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
