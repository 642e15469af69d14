// SPDX-License-Identifier: MIT
#include "kernels/rotate.hpp"

#include "kernels/lanes/generic.hpp"

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

// The p blocks of `step` elements from `first` on and their successors: every element of each p-th block.
void reflect_blocks_reference(float* rows, size_t M, size_t K, size_t p, size_t step) {
    for (size_t m = 0; m < M; ++m) {
        float* const row = rows + m * K;
        for (size_t k = 0; k < K; ++k) {
            if (k / step % p != 0) continue;
            float sum = row[k];
            for (size_t b = 1; b < p; ++b)
                sum += row[k + b * step];
            sum *= 2.0F / static_cast<float>(p);
            for (size_t b = 0; b < p; ++b)
                row[k + b * step] -= sum;
        }
    }
}

}  // namespace

void rotate_rows(const RowsToRotate& rows, KernelTier tier) {
    of_tier(tier, rotate_rows_reference, generic::rotate_rows, avx2::rotate_rows)(rows);
}

void mix_blocks(float* rows, size_t M, size_t K_padded, KernelTier tier, float* absmax) {
    const size_t block = rotation_block(K_padded);
    size_t step = block;
    for (size_t p = 1; (p = mix_factor(K_padded / step)) != 1; step *= p) {
        of_tier(tier, reflect_blocks_reference, generic::reflect_blocks, avx2::reflect_blocks)(
            rows, M, K_padded, p, step);
    }
    for (size_t m = 0; absmax != nullptr && step != block && m < M; ++m)
        absmax[m] = row_absmax(rows + m * K_padded, K_padded, tier);
}

}  // namespace rknpu2
