// SPDX-License-Identifier: MIT
#include "kernels/rotate.hpp"

#include "kernels/lanes/generic.hpp"

namespace rknpu2 {

void rotate_rows(const RowsToRotate& rows, KernelTier tier) {
    of_tier(tier, generic::rotate_rows, avx2::rotate_rows)(rows);
}

void mix_blocks(float* rows, size_t M, size_t K_padded, float* absmax) {
    const size_t block = rotation_block(K_padded);
    size_t step = block;
    for (size_t p = 1; (p = mix_factor(K_padded / step)) != 1; step *= p)
        generic::reflect_blocks(rows, M, K_padded, p, step);
    for (size_t m = 0; absmax != nullptr && step != block && m < M; ++m)
        absmax[m] = row_absmax(rows + m * K_padded, K_padded);
}

}  // namespace rknpu2
