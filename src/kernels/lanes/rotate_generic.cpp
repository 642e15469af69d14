// SPDX-License-Identifier: MIT
#include "kernels/lanes/four_lanes.hpp"
#include "kernels/lanes/generic.hpp"
#include "kernels/lanes/rotate_lanes.hpp"

namespace rknpu2::generic {

void rotate_rows(const RowsToRotate& rows) {
    lanes::rotate_rows<FourLanes>(rows);
}

}  // namespace rknpu2::generic
