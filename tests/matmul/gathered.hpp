// SPDX-License-Identifier: MIT
// Statistics of a test's activations, as a host that warms up first would leave them.
#pragma once

#include "calibration/calibration.hpp"
#include "matmul/matrices.hpp"

namespace rknpu2::testing {

inline ModelStats gathered_from(const Matrices& x) {
    Calibration calibration;
    calibration.add(x.source(), x.a.data(), 1);  // the warm-up, which does not count
    calibration.add(x.source(), x.a.data(), x.M);
    return calibration.statistics();
}

}  // namespace rknpu2::testing
