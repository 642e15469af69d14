// SPDX-License-Identifier: MIT
#include <cmath>

#include "kernels/reference_kernels.hpp"
#include "kernels/scale.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

// The digit of a code that plane `plane` has: the even planes have the high ones.
int digit(int code, size_t plane) {
    const int high = static_cast<int>(std::floor((code + 8) / 16.0));
    return plane % 2 == 0 ? high : code - 16 * high;
}

}  // namespace

void quantise_rows_digits(const RowsToDigits& rows, float* scales, TestTier tier, float* sums) {
    if (tier != TestTier::kReference) return quantise_rows_digits(rows, scales, sums, nullptr);
    auto* const native = reinterpret_cast<uint8_t*>(rows.native);
    for (size_t m = 0; m < rows.M; ++m) {
        const float* const x = rows.x + m * rows.row_stride;
        scales[m] = row_absmax(x, rows.K, tier) / 119.0F;
        if (scales[m] < 0x1p-126F) scales[m] = 0;
        const float factor = storing_factor(scales[m]);
        int total = 0;
        for (size_t k = 0; k < rows.K_padded; ++k) {
            const int code = k < rows.K && factor != 0 ? static_cast<int>(std::nearbyint(x[k] * factor)) : 0;
            total += code;
            for (size_t plane = 0; plane < 2 * rows.pieces; ++plane) {
                const size_t first = piece_begin(rows.K_padded / 32, rows.pieces, plane / 2) * 32;
                const size_t end = piece_begin(rows.K_padded / 32, rows.pieces, plane / 2 + 1) * 32;
                const size_t row = plane * rows.plane_rows + rows.m0 + m;
                int4_set(native, a_index_native(row, k, rows.M_total, DType::kInt4),
                         first <= k && k < end ? digit(code, plane) : 0);
            }
        }
        if (sums != nullptr) sums[m] += scales[m] * static_cast<float>(total);
    }
}

void pack_codes(const CodesToBlock& codes, TestTier tier) {
    if (tier != TestTier::kReference) return pack_codes(codes);
    auto* const native = reinterpret_cast<uint8_t*>(codes.native);
    for (size_t i = 0; i < codes.n_count; ++i) {
        for (size_t k = 0; k < codes.K_padded; ++k) {
            // Any N that is a whole number of groups gives the same index.
            const size_t N = round_up(codes.n0 + codes.n_count, kernel_group(DType::kInt4));
            int4_set(native, b_index_native(k, codes.n0 + i, codes.K_padded, N, DType::kInt4),
                     k < codes.K ? codes.codes[i * codes.row_stride + k] : 0);
        }
    }
}

void join_digits(const DigitSums& sums, int32_t* out, TestTier tier) {
    if (tier != TestTier::kReference) return join_digits(sums, out);
    for (size_t m = 0; m < sums.M; ++m) {
        for (size_t n = 0; n < round_up(sums.N, size_t{8}); ++n) {
            int32_t& joined = out[c_index_native(m, n, sums.M, DType::kInt32)];
            joined = 0;
            for (size_t plane = 0; plane < 2 * sums.pieces; ++plane) {
                const size_t row = plane * sums.plane_rows + sums.m0 + m;
                joined += (plane % 2 == 0 ? 16 : 1) *
                          sums.native[c_index_native(row, n, sums.M_total, DType::kInt16)];
            }
        }
    }
}

}  // namespace rknpu2
