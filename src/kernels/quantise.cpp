// SPDX-License-Identifier: MIT
#include "kernels/quantise.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/lanes/generic.hpp"
#include "kernels/lanes/reference_lanes.hpp"
#include "kernels/scale.hpp"

namespace rknpu2 {
namespace {

float row_absmax_reference(const float* x, size_t K) {
    float largest = 0.0F;
    for (size_t k = 0; k < K; ++k) {
        if (!std::isfinite(x[k])) return std::numeric_limits<float>::quiet_NaN();
        largest = std::max(largest, std::fabs(x[k]));
    }
    return largest;
}

template <typename Element>
void store_rows_reference(const RowsToCube<Element>& rows, const float* scales) {
    for (size_t m = 0; m < rows.M; ++m) {
        const float factor = storing_factor(scales[m]);
        for (size_t k = 0; k < rows.K_padded; ++k) {
            const bool stored = k < rows.K && factor != 0.0F;
            rows.native[a_index_native(rows.m0 + m, k, rows.M_total, dtype_of<Element>())] =
                stored ? reference_lane<Element>(rows.x[m * rows.row_stride + k] * factor) : Element{0};
        }
    }
}

void store_residuals_reference(const RowsToCube<int8_t>& rows, const float* scales) {
    for (size_t m = 0; m < rows.M; ++m) {
        const float factor = storing_factor(scales[m]);
        for (size_t k = 0; k < rows.K_padded; ++k) {
            const bool stored = k < rows.K && factor != 0.0F;
            const float steps = stored ? rows.x[m * rows.row_stride + k] * factor : 0.0F;
            const auto rounded = static_cast<float>(reference_lane<int8_t>(steps));
            rows.native[a_index_native(rows.m0 + m, k, rows.M_total, DType::kInt8)] =
                reference_lane<int8_t>((steps - rounded) * kResidualSteps);
        }
    }
}

void store_rows_int8_reference(const RowsToCube<int8_t>& rows, const float* scales, Rounding rounding,
                               int32_t* totals) {
    if (rounding == Rounding::kResidual) {
        store_residuals_reference(rows, scales);
    } else {
        store_rows_reference(rows, scales);
    }
    for (size_t m = 0; totals != nullptr && m < rows.M; ++m) {
        totals[m] = 0;
        for (size_t k = 0; k < rows.K_padded; ++k)
            totals[m] += rows.native[a_index_native(rows.m0 + m, k, rows.M_total, DType::kInt8)];
    }
}

// At most kRowGroup rows.
void store_rows_int8(const RowsToCube<int8_t>& rows, const float* scales, Rounding rounding, int32_t* totals,
                     KernelTier tier) {
    if (tier == KernelTier::kReference) return store_rows_int8_reference(rows, scales, rounding, totals);
    Int8Rows group{.x = rows.x,
                   .row_stride = rows.row_stride,
                   .M = rows.M,
                   .K = rows.K,
                   .K_padded = rows.K_padded,
                   .native = rows.native + rows.m0 * kAtomBytes,
                   .column_stride = rows.M_total * kAtomBytes,
                   .factors = {},
                   .totals = totals};
    std::transform(scales, scales + rows.M, group.factors, storing_factor);
    (tier == KernelTier::kAvx2 ? avx2::store_rows_int8 : generic::store_rows_int8)(group, rounding);
}

// As store_rows_int8(); adds what each row sums up to, times its entry of `steps`, to `sums` unless that is null.
void store_and_sum(const RowsToCube<int8_t>& rows, const float* scales, Rounding rounding, const float* steps,
                   float* sums, KernelTier tier) {
    int32_t totals[kRowGroup];
    store_rows_int8(rows, scales, rounding, sums == nullptr ? nullptr : totals, tier);
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

float row_absmax(const float* x, size_t K, KernelTier tier) {
    return of_tier(tier, row_absmax_reference, generic::row_absmax, avx2::row_absmax)(x, K);
}

void quantise_rows_int8(const RowsToCube<int8_t>& rows, float* scales, KernelTier tier, float* sums,
                        const float* absmax) {
    by_row_groups(rows, [&](size_t first, const RowsToCube<int8_t>& part) {
        for (size_t m = first; m < first + part.M; ++m) {
            scales[m] = int8_scale(
                absmax != nullptr ? absmax[m] : row_absmax(rows.x + m * rows.row_stride, rows.K, tier));
        }
        store_and_sum(part, scales + first, Rounding::kFits, scales + first,
                      sums == nullptr ? nullptr : sums + first, tier);
    });
}

void quantise_rows_int8_scaled(const RowsToCube<int8_t>& rows, float scale, float* scales, KernelTier tier) {
    by_row_groups(rows, [&](size_t first, const RowsToCube<int8_t>& part) {
        for (size_t m = first; m < first + part.M; ++m) {
            const float absmax = row_absmax(rows.x + m * rows.row_stride, rows.K, tier);
            scales[m] = std::isnan(absmax) ? absmax : scale;
        }
        store_rows_int8(part, scales + first, Rounding::kClamped, nullptr, tier);
    });
}

void quantise_residuals_int8(const RowsToCube<int8_t>& rows, const float* scales, float* residual_scales,
                             KernelTier tier, float* sums) {
    by_row_groups(rows, [&](size_t first, const RowsToCube<int8_t>& part) {
        for (size_t m = first; m < first + part.M; ++m)
            residual_scales[m] = scales[m] / kResidualSteps;
        store_and_sum(part, scales + first, Rounding::kResidual, residual_scales + first,
                      sums == nullptr ? nullptr : sums + first, tier);
    });
}

void convert_rows_fp16(const RowsToCube<uint16_t>& rows, float* scales, KernelTier tier) {
    by_row_groups(rows, [&](size_t first, const RowsToCube<uint16_t>& part) {
        for (size_t m = first; m < first + part.M; ++m)
            scales[m] = fp16_scale(row_absmax(rows.x + m * rows.row_stride, rows.K, tier));
        of_tier(tier, store_rows_reference<uint16_t>, generic::store_rows_fp16, avx2::store_rows_fp16)(
            part, scales + first);
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
