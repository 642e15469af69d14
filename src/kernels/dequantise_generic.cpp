#include <algorithm>
#include <cstring>

#include "kernels/generic.hpp"
#include "matrix/layout.hpp"

namespace rknpu2::generic {
namespace {

inline constexpr size_t kAtom = 4;

// A tile of 4 rows by 16 columns is four whole cache lines of the cube and four of the output: each line is
// touched once and can be forgotten. (In matrices with a power of two of rows or columns all these lines fall
// into one set of the cache, so nothing survives there for a second visit.) Tiles go down kBlockM rows first,
// along four sequential streams of the cube, then right, where the output rows' pages are still in the TLB.
inline constexpr size_t kTileM = 4;
inline constexpr size_t kTileN = 16;
inline constexpr size_t kBlockM = 128;

template <Accumulate kMode, typename Element>
[[gnu::always_inline]] inline void apply(Element acc, float row_scale, float channel_scale, float& out) {
    const float value = (static_cast<float>(acc) * row_scale) * channel_scale;
    out = kMode == Accumulate::kAdd ? out + value : value;
}

// Where a call's rows are: pointers to row 0, column 0, and the steps between column groups and output rows.
template <typename Element>
struct Rows {
    const Element* native;
    size_t group_step;
    const float* row_scales;
    const float* channel_scales;
    float* out;
    size_t out_stride;
};

// One atom is one vector: written as such, since g++ does not find it in four nested loops.
using Float4 = float __attribute__((vector_size(16)));
using Int4 = int32_t __attribute__((vector_size(16)));

[[gnu::always_inline]] inline void load(const float* from, Float4& value) {
    std::memcpy(&value, from, sizeof value);
}
[[gnu::always_inline]] inline void load(const int32_t* from, Float4& value) {
    Int4 integers;
    std::memcpy(&integers, from, sizeof integers);
    value = __builtin_convertvector(integers, Float4);
}

template <Accumulate kMode, size_t kRows, typename Element>
[[gnu::always_inline]] inline void apply_tile(const Rows<Element>& rows, size_t m, size_t n) {
    const Element* native = rows.native + n / kAtom * rows.group_step + m * kAtom;
    Float4 channels[kTileN / kAtom];
    std::memcpy(channels, rows.channel_scales + n, sizeof channels);
    for (size_t r = 0; r < kRows; ++r) {
        float* out = rows.out + (m + r) * rows.out_stride + n;
        const float row_scale = rows.row_scales[m + r];
        for (size_t g = 0; g < kTileN / kAtom; ++g) {
            Float4 value;
            load(native + g * rows.group_step + r * kAtom, value);
            value = (value * row_scale) * channels[g];
            if (kMode == Accumulate::kAdd) {
                Float4 sum;
                load(out + g * kAtom, sum);
                value = sum + value;
            }
            std::memcpy(out + g * kAtom, &value, sizeof value);
        }
    }
}

// Columns n .. n_end-1 of one row, at the right edge.
template <Accumulate kMode, typename Element>
[[gnu::always_inline]] inline void apply_edge(const Rows<Element>& rows, size_t m, size_t n, size_t n_end) {
    for (; n < n_end; ++n) {
        apply<kMode>(rows.native[n / kAtom * rows.group_step + m * kAtom + n % kAtom], rows.row_scales[m],
                     rows.channel_scales[n], rows.out[m * rows.out_stride + n]);
    }
}

template <Accumulate kMode, typename Element>
[[gnu::always_inline]] inline void apply_rows(const Element* native, size_t M_total, size_t m0, size_t M,
                                              size_t N, const float* row_scales, const float* channel_scales,
                                              float* out, size_t out_stride) {
    if (M_total == 1) {  // a plain row
        for (size_t n = 0; M == 1 && n < N; ++n)
            apply<kMode>(native[n], row_scales[0], channel_scales[n], out[n]);
        return;
    }
    const Rows<Element> rows{native + m0 * kAtom, M_total * kAtom, row_scales, channel_scales, out,
                             out_stride};
    for (size_t mb = 0; mb < M; mb += kBlockM) {
        const size_t m_end = std::min(mb + kBlockM, M);
        size_t n = 0;
        for (; n + kTileN <= N; n += kTileN) {
            size_t m = mb;
            for (; m + kTileM <= m_end; m += kTileM)
                apply_tile<kMode, kTileM>(rows, m, n);
            for (; m < m_end; ++m)
                apply_tile<kMode, 1>(rows, m, n);
        }
        for (size_t m = mb; m < m_end; ++m)
            apply_edge<kMode>(rows, m, n, N);
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
