#include <algorithm>

#include "kernels/generic.hpp"
#include "matrix/layout.hpp"

namespace rknpu2::generic {
namespace {

// A block of C that is read along rows of the cube (runs of kBlockM atoms) and written along rows of the
// output (runs of kBlockN floats): long enough on both sides for the prefetchers, small enough for L1 and for
// the first-level TLB, since each column group and each output row is a page of its own in large matrices.
inline constexpr size_t kBlockM = 32;
inline constexpr size_t kBlockN = 64;
inline constexpr size_t kAtom = 4;

template <Accumulate kMode, typename Element>
[[gnu::always_inline]] inline void apply_atom(const Element* atom, float row_scale,
                                              const float* channel_scales, float* out) {
    for (size_t j = 0; j < kAtom; ++j) {
        const float value = (static_cast<float>(atom[j]) * row_scale) * channel_scales[j];
        out[j] = kMode == Accumulate::kAdd ? out[j] + value : value;
    }
}

// One row whose atoms lie `step` elements apart.
template <Accumulate kMode, typename Element>
[[gnu::always_inline]] inline void apply_row(const Element* __restrict native, size_t step, size_t N,
                                             float row_scale, const float* __restrict channel_scales,
                                             float* __restrict out) {
    const size_t whole = N / kAtom * kAtom;
    for (size_t n = 0; n < whole; n += kAtom)
        apply_atom<kMode>(native + n / kAtom * step, row_scale, channel_scales + n, out + n);
    for (size_t n = whole; n < N; ++n) {
        const float value =
            (static_cast<float>(native[n / kAtom * step + n % kAtom]) * row_scale) * channel_scales[n];
        out[n] = kMode == Accumulate::kAdd ? out[n] + value : value;
    }
}

// The cube of one row is a plain row.
template <Accumulate kMode, typename Element>
[[gnu::always_inline]] inline void apply_plain_row(const Element* __restrict native, size_t N,
                                                   float row_scale, const float* __restrict channel_scales,
                                                   float* __restrict out) {
    for (size_t n = 0; n < N; ++n) {
        const float value = (static_cast<float>(native[n]) * row_scale) * channel_scales[n];
        out[n] = kMode == Accumulate::kAdd ? out[n] + value : value;
    }
}

template <Accumulate kMode, typename Element>
[[gnu::always_inline]] inline void apply_rows(const Element* native, size_t M_total, size_t m0, size_t M,
                                              size_t N, const float* row_scales, const float* channel_scales,
                                              float* out, size_t out_stride) {
    if (M_total == 1) {
        if (M == 1) apply_plain_row<kMode>(native, N, row_scales[0], channel_scales, out);
        return;
    }
    for (size_t mb = 0; mb < M; mb += kBlockM) {
        const size_t m_end = std::min(mb + kBlockM, M);
        for (size_t nb = 0; nb < N; nb += kBlockN) {
            const Element* block = native + (nb / kAtom * M_total + m0) * kAtom;
            for (size_t m = mb; m < m_end; ++m) {
                apply_row<kMode>(block + m * kAtom, M_total * kAtom, std::min(kBlockN, N - nb), row_scales[m],
                                 channel_scales + nb, out + m * out_stride + nb);
            }
        }
    }
}

}  // namespace

RKNPU2_CLONES void dequantise_rows_int32(const int32_t* native, size_t M_total, size_t m0, size_t M, size_t N,
                                         const float* row_scales, const float* channel_scales, float* out,
                                         size_t out_stride, Accumulate mode) {
    if (mode == Accumulate::kAdd) {
        apply_rows<Accumulate::kAdd>(native, M_total, m0, M, N, row_scales, channel_scales, out, out_stride);
    } else {
        apply_rows<Accumulate::kStore>(native, M_total, m0, M, N, row_scales, channel_scales, out,
                                       out_stride);
    }
}

RKNPU2_CLONES void scale_rows_fp32(const float* native, size_t M_total, size_t m0, size_t M, size_t N,
                                   const float* row_scales, const float* channel_scales, float* out,
                                   size_t out_stride, Accumulate mode) {
    if (mode == Accumulate::kAdd) {
        apply_rows<Accumulate::kAdd>(native, M_total, m0, M, N, row_scales, channel_scales, out, out_stride);
    } else {
        apply_rows<Accumulate::kStore>(native, M_total, m0, M, N, row_scales, channel_scales, out,
                                       out_stride);
    }
}

RKNPU2_CLONES void add_int32(int32_t* dst, const int32_t* src, size_t count) {
    for (size_t i = 0; i < count; ++i)
        dst[i] = static_cast<int32_t>(static_cast<uint32_t>(dst[i]) + static_cast<uint32_t>(src[i]));
}

}  // namespace rknpu2::generic
