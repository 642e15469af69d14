// SPDX-License-Identifier: MIT
#include "kernels/quantise.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/lanes/generic.hpp"
#include "kernels/lanes/reference_lanes.hpp"
#include "kernels/scale.hpp"
#include "matrix/layout.hpp"

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

// What the rows of a cube add up to.
void total_reference(const RowsToCube<int8_t>& rows, int32_t* totals) {
    for (size_t m = 0; totals != nullptr && m < rows.M; ++m) {
        totals[m] = 0;
        for (size_t k = 0; k < rows.K_padded; ++k)
            totals[m] += rows.native[a_index_native(rows.m0 + m, k, rows.M_total, DType::kInt8)];
    }
}

template <typename Element>
void zero_rows_of(size_t m_begin, size_t m_end, size_t K_padded, size_t M_total, Element* native) {
    if (m_begin >= m_end) return;
    const size_t atom = atom_elements(dtype_of<Element>());
    for (size_t k = 0; k < K_padded; k += atom) {
        std::memset(native + a_index_native(m_begin, k, M_total, dtype_of<Element>()), 0,
                    (m_end - m_begin) * kAtomBytes);
    }
}

template <typename Element>
void unpack_rows_of(const Element* native, size_t M_total, size_t m0, size_t M, size_t K, Element* out,
                    size_t out_stride) {
    for (size_t m = 0; m < M; ++m) {
        for (size_t k = 0; k < K; ++k)
            out[m * out_stride + k] = native[a_index_native(m0 + m, k, M_total, dtype_of<Element>())];
    }
}

// A group of rows as the vector tiers take it.
struct Group {
    CubeWalk walk;
    float factors[kRowGroup];

    Group(const RowsToCube<int8_t>& rows, const float* scales)
        : walk{rows.x,
               rows.row_stride,
               rows.K,
               rows.K_padded,
               rows.native + rows.m0 * kAtomBytes,
               rows.M_total * kAtomBytes} {
        std::transform(scales, scales + rows.M, factors, storing_factor);
    }
};

void store_rows_int8(const RowsToCube<int8_t>& rows, const float* scales, bool fits, int32_t* totals,
                     KernelTier tier) {
    const Group group(rows, scales);
    switch (tier) {
        case KernelTier::kReference:
            store_rows_reference(rows, scales);
            return total_reference(rows, totals);
        case KernelTier::kGeneric:
            return generic::store_rows_int8(group.walk, rows.M, group.factors, fits, totals);
        case KernelTier::kAvx2:
            return avx2::store_rows_int8(group.walk, rows.M, group.factors, fits, totals);
    }
}

void store_residuals_int8(const RowsToCube<int8_t>& rows, const float* scales, int32_t* totals,
                          KernelTier tier) {
    const Group group(rows, scales);
    switch (tier) {
        case KernelTier::kReference:
            store_residuals_reference(rows, scales);
            return total_reference(rows, totals);
        case KernelTier::kGeneric:
            return generic::store_residuals_int8(group.walk, rows.M, group.factors, totals);
        case KernelTier::kAvx2:
            return avx2::store_residuals_int8(group.walk, rows.M, group.factors, totals);
    }
}

void store_rows_fp16(const RowsToCube<uint16_t>& rows, const float* scales, KernelTier tier) {
    switch (tier) {
        case KernelTier::kReference:
            return store_rows_reference(rows, scales);
        case KernelTier::kGeneric:
            return generic::store_rows_fp16(rows, scales);
        case KernelTier::kAvx2:
            return avx2::store_rows_fp16(rows, scales);
    }
}

// Calls choose(m) for each row of a group and then store(m, part): the part, which begins at row m, is stored
// while it is still in the cache. Groups start at multiples of kRowGroup in the cube, not in the call, so that
// whole cache lines are written.
template <typename Element, typename Choose, typename Store>
void by_row_groups(const RowsToCube<Element>& rows, Choose choose, Store store) {
    for (size_t m = 0; m < rows.M;) {
        const size_t count = std::min(kRowGroup - (rows.m0 + m) % kRowGroup, rows.M - m);
        for (size_t r = m; r < m + count; ++r)
            choose(r);
        store(m, rows.part(m, count));
        m += count;
    }
}

// Stores a group of rows of int8, and adds what they sum up to, if that is asked for.
template <typename Store>
void store_and_sum(size_t m, size_t count, const float* scales, float* sums, Store store) {
    int32_t totals[kRowGroup];
    store(sums == nullptr ? nullptr : totals);
    for (size_t r = 0; sums != nullptr && r < count; ++r)
        sums[m + r] += scales[m + r] * static_cast<float>(totals[r]);
}

}  // namespace

float row_absmax(const float* x, size_t K, KernelTier tier) {
    switch (tier) {
        case KernelTier::kReference:
            return row_absmax_reference(x, K);
        case KernelTier::kGeneric:
            return generic::row_absmax(x, K);
        case KernelTier::kAvx2:
            return avx2::row_absmax(x, K);
    }
    return std::numeric_limits<float>::quiet_NaN();
}

void quantise_rows_int8(const RowsToCube<int8_t>& rows, float* scales, KernelTier tier, float* sums,
                        const float* absmax) {
    by_row_groups(
        rows,
        [&](size_t m) {
            scales[m] = int8_scale(
                absmax != nullptr ? absmax[m] : row_absmax(rows.x + m * rows.row_stride, rows.K, tier));
        },
        [&](size_t m, const RowsToCube<int8_t>& part) {
            store_and_sum(m, part.M, scales, sums,
                          [&](int32_t* totals) { store_rows_int8(part, scales + m, true, totals, tier); });
        });
}

void quantise_rows_int8_scaled(const RowsToCube<int8_t>& rows, float scale, float* scales, KernelTier tier) {
    by_row_groups(
        rows,
        [&](size_t m) {
            const float absmax = row_absmax(rows.x + m * rows.row_stride, rows.K, tier);
            scales[m] = std::isnan(absmax) ? absmax : scale;
        },
        [&](size_t m, const RowsToCube<int8_t>& part) {
            store_rows_int8(part, scales + m, false, nullptr, tier);
        });
}

void quantise_residuals_int8(const RowsToCube<int8_t>& rows, const float* scales, float* residual_scales,
                             KernelTier tier, float* sums) {
    by_row_groups(
        rows, [&](size_t m) { residual_scales[m] = scales[m] / kResidualSteps; },
        [&](size_t m, const RowsToCube<int8_t>& part) {
            store_and_sum(m, part.M, residual_scales, sums,
                          [&](int32_t* totals) { store_residuals_int8(part, scales + m, totals, tier); });
        });
}

void convert_rows_fp16(const RowsToCube<uint16_t>& rows, float* scales, KernelTier tier) {
    by_row_groups(
        rows,
        [&](size_t m) { scales[m] = fp16_scale(row_absmax(rows.x + m * rows.row_stride, rows.K, tier)); },
        [&](size_t m, const RowsToCube<uint16_t>& part) { store_rows_fp16(part, scales + m, tier); });
}

void zero_rows(size_t m_begin, size_t m_end, size_t K_padded, size_t M_total, int8_t* native) {
    zero_rows_of(m_begin, m_end, K_padded, M_total, native);
}
void zero_rows(size_t m_begin, size_t m_end, size_t K_padded, size_t M_total, uint16_t* native) {
    zero_rows_of(m_begin, m_end, K_padded, M_total, native);
}

void unpack_rows(const int8_t* native, size_t M_total, size_t m0, size_t M, size_t K, int8_t* out,
                 size_t out_stride) {
    unpack_rows_of(native, M_total, m0, M, K, out, out_stride);
}
void unpack_rows(const uint16_t* native, size_t M_total, size_t m0, size_t M, size_t K, uint16_t* out,
                 size_t out_stride) {
    unpack_rows_of(native, M_total, m0, M, K, out, out_stride);
}

}  // namespace rknpu2
