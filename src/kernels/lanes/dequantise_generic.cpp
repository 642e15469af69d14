// SPDX-License-Identifier: MIT
#include "kernels/lanes/dequantise_lanes.hpp"
#include "kernels/lanes/four_lanes.hpp"
#include "kernels/lanes/generic.hpp"

namespace rknpu2::generic {

template <typename Element>
void dequantise_rows(const CubeToRows<Element>& rows) {
    lanes::dequantise_rows<FourLanes>(rows);
}
template void dequantise_rows(const CubeToRows<int32_t>&);
template void dequantise_rows(const CubeToRows<float>&);

}  // namespace rknpu2::generic
