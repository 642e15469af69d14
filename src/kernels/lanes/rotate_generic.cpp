// SPDX-License-Identifier: MIT
#include "kernels/lanes/four_lanes.hpp"
#include "kernels/lanes/generic.hpp"
#include "kernels/lanes/rotate_lanes.hpp"

namespace rknpu2::generic {

void rotate_rows(const float* x, size_t row_stride, size_t M, size_t K, size_t K_padded, const float* factors,
                 float* out, float* absmax) {
    lanes::rotate_rows<FourLanes>(x, row_stride, M, K, K_padded, factors, out, absmax);
}

}  // namespace rknpu2::generic
