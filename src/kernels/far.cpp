// SPDX-License-Identifier: MIT
#include "kernels/far.hpp"

#include "kernels/lanes/reference_lanes.hpp"
#include "kernels/quantise.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

template <typename Element>
void dequantise_far(const Element* native, size_t M_total, size_t m, size_t N, float row_scale,
                    const float* channel_scales, float* out, Accumulate mode) {
    for (size_t n = 0; n < N; ++n) {
        const Element acc = native[c_index_native(m, n, M_total, dtype_of<Element>())];
        const float value = far_result(static_cast<double>(acc), row_scale, channel_scales[n]);
        out[n] = mode == Accumulate::kAdd ? out[n] + value : value;
    }
}

}  // namespace

double bring_near(float* row, size_t K) {
    const float largest = row_absmax(row, K);
    if (std::isnan(largest) || largest == 0.0F || is_near(largest)) return 1;
    const double unit = unit_of(largest);
    divide_by_unit(row, K, unit, row);
    return unit;
}

void dequantise_far_row(const int32_t* native, size_t M_total, size_t m, size_t N, float row_scale,
                        const float* channel_scales, float* out, Accumulate mode) {
    dequantise_far(native, M_total, m, N, row_scale, channel_scales, out, mode);
}

void dequantise_far_row(const float* native, size_t M_total, size_t m, size_t N, float row_scale,
                        const float* channel_scales, float* out, Accumulate mode) {
    dequantise_far(native, M_total, m, N, row_scale, channel_scales, out, mode);
}

}  // namespace rknpu2
