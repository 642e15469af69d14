// SPDX-License-Identifier: MIT
#include "kernels/quantise.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/lanes/generic.hpp"
#include "kernels/scale.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

// At most kRowGroup rows. Adds what each row sums up to, times its entry of `steps`, to `sums` unless that is null.
void store_rows_int8(const RowsToCube<int8_t>& rows, const float* scales, Rounding rounding, KernelTier tier,
                     const float* steps = nullptr, float* sums = nullptr) {
    int32_t totals[kRowGroup];
    Int8Rows group{.x = rows.x,
                   .row_stride = rows.row_stride,
                   .M = rows.M,
                   .K = rows.K,
                   .K_padded = rows.K_padded,
                   .native = rows.native + rows.m0 * kAtomBytes,
                   .column_stride = rows.M_total * kAtomBytes,
                   .factors = {},
                   .totals = sums == nullptr ? nullptr : totals};
    std::transform(scales, scales + rows.M, group.factors, storing_factor);
    of_tier(tier, generic::store_rows_int8, avx2::store_rows_int8)(group, rounding);
    for (size_t m = 0; sums != nullptr && m < rows.M; ++m)
        sums[m] += steps[m] * static_cast<float>(totals[m]);
}

// Calls body(m, part) for groups of rows: each part begins at row m. Groups start at multiples of kRowGroup in
// the cube, not in the call, so that whole cache lines are written.
template <typename Element, typename Body>
void by_row_groups(const RowsToCube<Element>& rows, Body body) {
    for (size_t m = 0; m < rows.M;) {
        const size_t count = std::min(kRowGroup - (rows.m0 + m) % kRowGroup, rows.M - m);
        body(m, rows.part(m, count));
        m += count;
    }
}

}  // namespace

void quantise_rows_int8(const RowsToCube<int8_t>& rows, float* scales, KernelTier tier, float* sums,
                        const float* absmax) {
    by_row_groups(rows, [&](size_t first, const RowsToCube<int8_t>& part) {
        for (size_t m = first; m < first + part.M; ++m) {
            scales[m] =
                int8_scale(absmax != nullptr ? absmax[m] : row_absmax(rows.x + m * rows.row_stride, rows.K));
        }
        store_rows_int8(part, scales + first, Rounding::kFits, tier, scales + first,
                        sums == nullptr ? nullptr : sums + first);
    });
}

void quantise_rows_int8_scaled(const RowsToCube<int8_t>& rows, float scale, float* scales, KernelTier tier) {
    by_row_groups(rows, [&](size_t first, const RowsToCube<int8_t>& part) {
        for (size_t m = first; m < first + part.M; ++m) {
            const float absmax = row_absmax(rows.x + m * rows.row_stride, rows.K);
            scales[m] = std::isnan(absmax) ? absmax : scale;
        }
        store_rows_int8(part, scales + first, Rounding::kClamped, tier);
    });
}

void quantise_residuals_int8(const RowsToCube<int8_t>& rows, const float* scales, float* residual_scales,
                             KernelTier tier, float* sums) {
    by_row_groups(rows, [&](size_t first, const RowsToCube<int8_t>& part) {
        for (size_t m = first; m < first + part.M; ++m)
            residual_scales[m] = scales[m] / kResidualSteps;
        store_rows_int8(part, scales + first, Rounding::kResidual, tier, residual_scales + first,
                        sums == nullptr ? nullptr : sums + first);
    });
}

void convert_rows_fp16(const RowsToCube<uint16_t>& rows, float* scales) {
    by_row_groups(rows, [&](size_t first, const RowsToCube<uint16_t>& part) {
        for (size_t m = first; m < first + part.M; ++m)
            scales[m] = fp16_scale(row_absmax(rows.x + m * rows.row_stride, rows.K));
        generic::store_rows_fp16(part, scales + first);
    });
}

template <typename Element>
void zero_rows(size_t m_begin, size_t m_end, size_t K_padded, size_t M_total, Element* native) {
    if (m_begin >= m_end) return;
    for (size_t k = 0; k < K_padded; k += atom_elements(dtype_of<Element>())) {
        std::memset(native + a_index_native(m_begin, k, M_total, dtype_of<Element>()), 0,
                    (m_end - m_begin) * kAtomBytes);
    }
}
template void zero_rows(size_t, size_t, size_t, size_t, int8_t*);
template void zero_rows(size_t, size_t, size_t, size_t, uint16_t*);

}  // namespace rknpu2
