// SPDX-License-Identifier: MIT
#include "kernels/lanes/dequantise_lanes.hpp"
#include "kernels/lanes/four_lanes.hpp"
#include "kernels/lanes/generic.hpp"

namespace rknpu2::generic {

void dequantise_rows_int32(const int32_t* native, size_t M_total, size_t m0, size_t M, size_t N,
                           const float* row_scales, const float* channel_scales, float* out,
                           size_t out_stride, Accumulate mode) {
    lanes::scale_rows<FourLanes>(native, M_total, m0, M, N, row_scales, channel_scales, out, out_stride,
                                 mode);
}

void scale_rows_fp32(const float* native, size_t M_total, size_t m0, size_t M, size_t N,
                     const float* row_scales, const float* channel_scales, float* out, size_t out_stride,
                     Accumulate mode) {
    lanes::scale_rows<FourLanes>(native, M_total, m0, M, N, row_scales, channel_scales, out, out_stride,
                                 mode);
}

RKNPU2_CLONES void add_int32(int32_t* dst, const int32_t* src, size_t count) {
    for (size_t i = 0; i < count; ++i)
        dst[i] = static_cast<int32_t>(static_cast<uint32_t>(dst[i]) + static_cast<uint32_t>(src[i]));
}

}  // namespace rknpu2::generic
