// SPDX-License-Identifier: MIT
// The middle one of some measurements.
#pragma once

#include <algorithm>
#include <vector>

namespace rknpu2 {

// The median of at least one value.
inline double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

}  // namespace rknpu2
