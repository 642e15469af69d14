// SPDX-License-Identifier: MIT
#include "kernels/pack.hpp"

#include <array>
#include <cstring>

#include "kernels/lanes/generic.hpp"
#include "kernels/lanes/reference_lanes.hpp"
#include "kernels/quantise.hpp"
#include "kernels/scale.hpp"
#include "matrix/layout.hpp"

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

template <typename Element>
void zero_kernels_of(size_t n_begin, size_t n_end, size_t K_padded, size_t N_padded, Element* native) {
    for (size_t n = n_begin; n < n_end; ++n) {
        for (size_t k = 0; k < K_padded; k += kTileK) {
            std::memset(native + b_index_native(k, n, K_padded, N_padded, dtype_of<Element>()), 0,
                        kTileK * sizeof(Element));
        }
    }
}

template <typename Element>
void unpack_kernels_of(const Element* native, size_t K_padded, size_t N_padded, size_t n0, size_t n_count,
                       size_t k_count, Element* out, size_t out_stride) {
    for (size_t i = 0; i < n_count; ++i) {
        for (size_t k = 0; k < k_count; ++k) {
            out[i * out_stride + k] =
                native[b_index_native(k, n0 + i, K_padded, N_padded, dtype_of<Element>())];
        }
    }
}

}  // namespace

double rounding_error_int8(const float* row, size_t K, float scale, const float* values, KernelTier tier) {
    const float factor = storing_factor(scale);
    if (factor == 0.0F) return 0;
    std::array<double, kPartialSums> sums{};
    switch (tier) {
        case KernelTier::kReference:
            for (size_t k = 0; k < K; ++k) {
                const double stored = reference_lane<int8_t>(row[k] * factor);
                sums[k % kPartialSums] += (row[k] - stored * scale) * values[k];
            }
            break;
        case KernelTier::kGeneric:
            generic::add_rounding_errors_int8(row, K, scale, factor, values, sums.data());
            break;
        case KernelTier::kAvx2:
            avx2::add_rounding_errors_int8(row, K, scale, factor, values, sums.data());
            break;
    }
    double total = 0;
    for (const double sum : sums)
        total += sum;
    return total;
}

float channel_scale_int8(const float* row, size_t K, KernelTier tier) {
    return int8_scale(row_absmax(row, K, tier));
}
float channel_scale_fp16(const float* row, size_t K, KernelTier tier) {
    return fp16_scale(row_absmax(row, K, tier));
}

void pack_rows_int8(const RowsToBlock<int8_t>& rows, const float* scales, KernelTier tier) {
    switch (tier) {
        case KernelTier::kReference:
            return pack_rows_reference(rows, scales);
        case KernelTier::kGeneric:
            return generic::pack_rows_int8(rows, scales);
        case KernelTier::kAvx2:
            return avx2::pack_rows_int8(rows, scales);
    }
}

void pack_rows_fp16(const RowsToBlock<uint16_t>& rows, const float* scales, KernelTier tier) {
    switch (tier) {
        case KernelTier::kReference:
            return pack_rows_reference(rows, scales);
        case KernelTier::kGeneric:
            return generic::pack_rows_fp16(rows, scales);
        case KernelTier::kAvx2:
            return avx2::pack_rows_fp16(rows, scales);
    }
}

void zero_kernels(size_t n_begin, size_t n_end, size_t K_padded, size_t N_padded, int8_t* native) {
    zero_kernels_of(n_begin, n_end, K_padded, N_padded, native);
}
void zero_kernels(size_t n_begin, size_t n_end, size_t K_padded, size_t N_padded, uint16_t* native) {
    zero_kernels_of(n_begin, n_end, K_padded, N_padded, native);
}

void unpack_kernels(const int8_t* native, size_t K_padded, size_t N_padded, size_t n0, size_t n_count,
                    size_t k_count, int8_t* out, size_t out_stride) {
    unpack_kernels_of(native, K_padded, N_padded, n0, n_count, k_count, out, out_stride);
}
void unpack_kernels(const uint16_t* native, size_t K_padded, size_t N_padded, size_t n0, size_t n_count,
                    size_t k_count, uint16_t* out, size_t out_stride) {
    unpack_kernels_of(native, K_padded, N_padded, n0, n_count, k_count, out, out_stride);
}

}  // namespace rknpu2
