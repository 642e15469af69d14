// SPDX-License-Identifier: MIT
// Whether a weight is to be rotated before it is rounded (kernels/rotate.hpp).
//
// Rotation is there for outliers, and makes the values of a block alike to a normal distribution. Weights that
// are spread more evenly lose by it: the largest of evenly distributed values is 1.7 times the root mean
// square, after rotation 3 to 4 times, which costs as much in steps of int8. So a weight is rotated unless its
// rounding becomes clearly worse. Weights of language models never become so (measured: docs/quality.md); those
// of ggml's own tests, which are evenly distributed, do.
#pragma once

#include "base/status.hpp"
#include "plan/weight_source.hpp"

namespace rknpu2 {

// How many times as large rounding errors may become. They grow with the square of a row's largest value.
inline constexpr double kRotationMayCost = 2.0;

// Returns the mean square of some rows' largest values when rotated, divided by that of the rows as stored: about
// 1 for a normal distribution, less with outliers, more for evenly distributed values; 1 for a weight of zeros
// or with values that are not finite.
Result<double> cost_of_rotation(const WeightSource& weight);

}  // namespace rknpu2
