// SPDX-License-Identifier: MIT
// Whether a weight is to be rotated before it is rounded (kernels/rotate.hpp).
//
// Rotation is there for outliers, and makes the values of a block alike to a normal distribution. Weights
// that are spread more evenly than that lose by it: of evenly distributed ones the largest is 1.7 times the
// root mean square, after rotation 3 to 4 times, which costs as much in steps of int8. So a weight is rotated
// unless the rounding of the weight itself becomes clearly worse. Those of language models never are
// (measured: docs/quality.md); those of ggml's own tests, which are evenly distributed, are.
#pragma once

#include "base/status.hpp"
#include "plan/weight_source.hpp"

namespace rknpu2 {

// Rounding errors grow with the square of the largest value of a row; how many times as large they may
// become.
inline constexpr double kRotationMayCost = 2.0;

// Mean square of the largest values of some rows, rotated over as stored: about 1 for a normal distribution,
// less with outliers, more for evenly distributed values. 1 for a weight of zeros or with values that are not
// finite.
Result<double> cost_of_rotation(const WeightSource& weight);

}  // namespace rknpu2
