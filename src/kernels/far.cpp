// SPDX-License-Identifier: MIT
#include "kernels/far.hpp"

#include "kernels/quantise.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {

double bring_near(float* row, size_t K) {
    const float largest = row_absmax(row, K);
    if (std::isnan(largest) || largest == 0.0F || is_near(largest)) return 1;
    const double unit = unit_of(largest);
    divide_by_unit(row, K, unit, row);
    return unit;
}

template <typename Element>
void dequantise_far_row(const CubeToRows<Element>& row) {
    for (size_t n = 0; n < row.N; ++n) {
        const Element acc = row.native[c_index_native(row.m0, n, row.M_total, dtype_of<Element>())];
        const float value = far_result(static_cast<double>(acc), *row.row_scales, row.channel_scales[n]);
        row.out[n] = row.mode == Accumulate::kAdd ? row.out[n] + value : value;
    }
}
template void dequantise_far_row(const CubeToRows<int32_t>&);
template void dequantise_far_row(const CubeToRows<float>&);

}  // namespace rknpu2
