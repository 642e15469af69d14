// SPDX-License-Identifier: MIT
#include "kernels/pack.hpp"

#include <array>
#include <cstring>
#include <numeric>

#include "kernels/lanes/generic.hpp"
#include "kernels/lanes/reference_lanes.hpp"
#include "kernels/scale.hpp"

namespace rknpu2 {
namespace {

template <typename Element>
void pack_rows_reference(const RowsToBlock<Element>& from, const float* scales) {
    for (size_t i = 0; i < from.n_count; ++i) {
        const float factor = storing_factor(scales[i]);
        const float* row = from.rows + i * from.row_stride + from.k0;
        for (size_t k = 0; k < from.K_padded; ++k) {
            const bool stored = k < from.k_count && factor != 0.0F;
            from.native[b_index_native(k, from.n0 + i, from.K_padded, from.N_padded, dtype_of<Element>())] =
                stored ? reference_lane<Element>(row[k] * factor) : Element{0};
        }
    }
}

void add_rounding_errors_reference(const float* row, size_t K, float scale, float factor, const float* values,
                                   double* sums) {
    for (size_t k = 0; k < K; ++k) {
        const double stored = reference_lane<int8_t>(row[k] * factor);
        sums[k % kPartialSums] += (row[k] - stored * scale) * values[k];
    }
}

}  // namespace

double rounding_error_int8(const float* row, size_t K, float scale, const float* values, KernelTier tier) {
    const float factor = storing_factor(scale);
    if (factor == 0.0F) return 0;
    std::array<double, kPartialSums> sums{};
    of_tier(tier, add_rounding_errors_reference, generic::add_rounding_errors_int8,
            avx2::add_rounding_errors_int8)(row, K, scale, factor, values, sums.data());
    return std::accumulate(sums.begin(), sums.end(), 0.0);
}

template <typename Element>
void pack_rows(const RowsToBlock<Element>& rows, const float* scales, KernelTier tier) {
    of_tier(tier, pack_rows_reference<Element>, generic::pack_rows, avx2::pack_rows)(rows, scales);
}
template void pack_rows(const RowsToBlock<int8_t>&, const float*, KernelTier);
template void pack_rows(const RowsToBlock<uint16_t>&, const float*, KernelTier);

template <typename Element>
void zero_kernels(size_t n_begin, size_t n_end, size_t K_padded, size_t N_padded, Element* native) {
    for (size_t n = n_begin; n < n_end; ++n) {
        for (size_t k = 0; k < K_padded; k += kTileK) {
            std::memset(native + b_index_native(k, n, K_padded, N_padded, dtype_of<Element>()), 0,
                        kTileK * sizeof(Element));
        }
    }
}
template void zero_kernels(size_t, size_t, size_t, size_t, int8_t*);
template void zero_kernels(size_t, size_t, size_t, size_t, uint16_t*);

}  // namespace rknpu2
