// SPDX-License-Identifier: MIT
#include "kernels/dequantise.hpp"

#include "kernels/lanes/generic.hpp"
#include "kernels/lanes/reference_lanes.hpp"

namespace rknpu2 {
namespace {

template <typename Element>
void dequantise_rows_reference(const CubeToRows<Element>& rows) {
    for (size_t m = 0; m < rows.M; ++m) {
        for (size_t n = 0; n < rows.N; ++n) {
            const Element acc =
                rows.native[c_index_native(rows.m0 + m, n, rows.M_total, dtype_of<Element>())];
            const float value = (static_cast<float>(acc) * rows.row_scales[m]) * rows.channel_scales[n];
            float& target = rows.out[m * rows.out_stride + n];
            target = rows.mode == Accumulate::kAdd ? target + value : value;
        }
    }
}

}  // namespace

template <typename Element>
void dequantise_rows(const CubeToRows<Element>& rows, KernelTier tier) {
    of_tier(tier, dequantise_rows_reference<Element>, generic::dequantise_rows<Element>,
            avx2::dequantise_rows<Element>)(rows);
}
template void dequantise_rows(const CubeToRows<int32_t>&, KernelTier);
template void dequantise_rows(const CubeToRows<float>&, KernelTier);

}  // namespace rknpu2
