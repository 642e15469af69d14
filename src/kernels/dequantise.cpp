// SPDX-License-Identifier: MIT
#include "kernels/dequantise.hpp"

#include "kernels/lanes/generic.hpp"

namespace rknpu2 {

template <typename Element>
void dequantise_rows(const CubeToRows<Element>& rows, KernelTier tier) {
    of_tier(tier, generic::dequantise_rows<Element>, avx2::dequantise_rows<Element>)(rows);
}
template void dequantise_rows(const CubeToRows<int32_t>&, KernelTier);
template void dequantise_rows(const CubeToRows<float>&, KernelTier);

}  // namespace rknpu2
