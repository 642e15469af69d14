// SPDX-License-Identifier: MIT
#include "kernels/rotate.hpp"

#include "kernels/lanes/generic.hpp"
#include "kernels/quantise.hpp"

namespace rknpu2 {
namespace {

// Element k of a block of `size` elements from `first` on, rotated: the sum over the block with the signs of
// a Hadamard matrix, in the order in which the butterflies add. A butterfly at distance d combines the sums
// of two halves of 2d elements.
struct Row {
    const float* x;
    const float* factors;
    size_t K;

    float element(size_t k) const {
        if (k >= K) return 0.0F;
        return factors == nullptr ? x[k] : x[k] * factors[k];
    }
};

float rotated(const Row& row, size_t first, size_t size, size_t k) {
    if (size == 1) return row.element(first);
    const size_t half = size / 2;
    const float low = rotated(row, first, half, k % half);
    const float high = rotated(row, first + half, half, k % half);
    return k < half ? low + high : low - high;
}

void rotate_rows_reference(const float* x, size_t row_stride, size_t M, size_t K, size_t K_padded,
                           const float* factors, float* out, float* absmax) {
    const size_t block = rotation_block(K_padded);
    for (size_t m = 0; m < M; ++m) {
        for (size_t k = 0; k < K_padded; ++k) {
            const size_t first = k / block * block;
            out[m * K_padded + k] = rotated({x + m * row_stride, factors, K}, first, block, k - first);
        }
        if (absmax == nullptr) continue;
        absmax[m] = row_absmax(out + m * K_padded, K_padded, KernelTier::kReference);
    }
}

}  // namespace

void rotate_rows(const float* x, size_t row_stride, size_t M, size_t K, size_t K_padded, const float* factors,
                 float* out, KernelTier tier, float* absmax) {
    switch (tier) {
        case KernelTier::kReference:
            return rotate_rows_reference(x, row_stride, M, K, K_padded, factors, out, absmax);
        case KernelTier::kGeneric:
            return generic::rotate_rows(x, row_stride, M, K, K_padded, factors, out, absmax);
        case KernelTier::kAvx2:
            return avx2::rotate_rows(x, row_stride, M, K, K_padded, factors, out, absmax);
    }
}

}  // namespace rknpu2
