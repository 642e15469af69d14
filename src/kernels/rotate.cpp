#include "kernels/rotate.hpp"

#include "kernels/generic.hpp"

namespace rknpu2 {
namespace {

// Element k of row x, rotated: the sum over the block with the signs of a Hadamard matrix, in the order in
// which the butterflies add. A butterfly at distance d combines the sums of two halves of 2d elements.
float rotated(const float* block, size_t first, size_t size, size_t k, size_t valid) {
    if (size == 1) return first < valid ? block[first] : 0.0F;
    const size_t half = size / 2;
    const float low = rotated(block, first, half, k % half, valid);
    const float high = rotated(block, first + half, half, k % half, valid);
    return k < half ? low + high : low - high;
}

void rotate_rows_reference(const float* x, size_t row_stride, size_t M, size_t K, size_t K_padded,
                           float* out) {
    const size_t block = rotation_block(K_padded);
    for (size_t m = 0; m < M; ++m) {
        for (size_t k = 0; k < K_padded; ++k) {
            const size_t first = k / block * block;
            const size_t valid = K > first ? K - first : 0;
            out[m * K_padded + k] = rotated(x + m * row_stride + first, 0, block, k - first, valid);
        }
    }
}

}  // namespace

void rotate_rows(const float* x, size_t row_stride, size_t M, size_t K, size_t K_padded, float* out,
                 KernelTier tier) {
    switch (tier) {
        case KernelTier::kReference:
            return rotate_rows_reference(x, row_stride, M, K, K_padded, out);
        case KernelTier::kGeneric:
            return generic::rotate_rows(x, row_stride, M, K, K_padded, out);
    }
}

}  // namespace rknpu2
