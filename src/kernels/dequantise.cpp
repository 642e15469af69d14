// SPDX-License-Identifier: MIT
#include "kernels/dequantise.hpp"

#include "kernels/lanes/generic.hpp"
#include "kernels/lanes/reference_lanes.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

template <typename Element>
void apply_scales_reference(const Element* native, size_t M_total, size_t m0, size_t M, size_t N,
                            const float* row_scales, const float* channel_scales, float* out,
                            size_t out_stride, Accumulate mode) {
    for (size_t m = 0; m < M; ++m) {
        for (size_t n = 0; n < N; ++n) {
            const Element acc = native[c_index_native(m0 + m, n, M_total, dtype_of<Element>())];
            const float value = (static_cast<float>(acc) * row_scales[m]) * channel_scales[n];
            float& target = out[m * out_stride + n];
            target = mode == Accumulate::kAdd ? target + value : value;
        }
    }
}

}  // namespace

void dequantise_rows_int32(const int32_t* native, size_t M_total, size_t m0, size_t M, size_t N,
                           const float* row_scales, const float* channel_scales, float* out,
                           size_t out_stride, Accumulate mode, KernelTier tier) {
    switch (tier) {
        case KernelTier::kReference:
            return apply_scales_reference(native, M_total, m0, M, N, row_scales, channel_scales, out,
                                          out_stride, mode);
        case KernelTier::kGeneric:
            return generic::dequantise_rows_int32(native, M_total, m0, M, N, row_scales, channel_scales, out,
                                                  out_stride, mode);
        case KernelTier::kAvx2:
            return avx2::dequantise_rows_int32(native, M_total, m0, M, N, row_scales, channel_scales, out,
                                               out_stride, mode);
    }
}

void scale_rows_fp32(const float* native, size_t M_total, size_t m0, size_t M, size_t N,
                     const float* row_scales, const float* channel_scales, float* out, size_t out_stride,
                     Accumulate mode, KernelTier tier) {
    switch (tier) {
        case KernelTier::kReference:
            return apply_scales_reference(native, M_total, m0, M, N, row_scales, channel_scales, out,
                                          out_stride, mode);
        case KernelTier::kGeneric:
            return generic::scale_rows_fp32(native, M_total, m0, M, N, row_scales, channel_scales, out,
                                            out_stride, mode);
        case KernelTier::kAvx2:
            return avx2::scale_rows_fp32(native, M_total, m0, M, N, row_scales, channel_scales, out,
                                         out_stride, mode);
    }
}

void add_int32(int32_t* dst, const int32_t* src, size_t count, KernelTier tier) {
    switch (tier) {
        case KernelTier::kReference:
            for (size_t i = 0; i < count; ++i)
                dst[i] = static_cast<int32_t>(static_cast<uint32_t>(dst[i]) + static_cast<uint32_t>(src[i]));
            return;
        case KernelTier::kGeneric:
            return generic::add_int32(dst, src, count);
        case KernelTier::kAvx2:
            return avx2::add_int32(dst, src, count);
    }
}

}  // namespace rknpu2
