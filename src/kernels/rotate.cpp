// SPDX-License-Identifier: MIT
#include "kernels/rotate.hpp"

#include "kernels/lanes/generic.hpp"
#include "kernels/quantise.hpp"

namespace rknpu2 {
namespace {

struct Row {
    const float* x;
    const float* factors;
    size_t K;

    float element(size_t k) const {
        if (k >= K) return 0.0F;
        return factors == nullptr ? x[k] : x[k] * factors[k];
    }
};

// Element k of the block of `size` elements from `first` on, rotated: the sum over the block with the signs of
// a Hadamard matrix, in the order in which the butterflies add. A butterfly at distance d combines the sums
// of two halves of 2d elements.
float rotated(const Row& row, size_t first, size_t size, size_t k) {
    if (size == 1) return row.element(first);
    const size_t half = size / 2;
    const float low = rotated(row, first, half, k % half);
    const float high = rotated(row, first + half, half, k % half);
    return k < half ? low + high : low - high;
}

void rotate_rows_reference(const RowsToRotate& rows) {
    const size_t block = rotation_block(rows.K_padded);
    for (size_t m = 0; m < rows.M; ++m) {
        const Row row{rows.x + m * rows.row_stride, rows.factors, rows.K};
        float* const out = rows.out + m * rows.K_padded;
        for (size_t k = 0; k < rows.K_padded; ++k)
            out[k] = rotated(row, k / block * block, block, k % block);
        if (rows.absmax != nullptr) rows.absmax[m] = row_absmax(out, rows.K_padded, KernelTier::kReference);
    }
}

}  // namespace

void rotate_rows(const RowsToRotate& rows, KernelTier tier) {
    of_tier(tier, rotate_rows_reference, generic::rotate_rows, avx2::rotate_rows)(rows);
}

}  // namespace rknpu2
