// SPDX-License-Identifier: MIT
// The yardstick: C = A * B^T in float, as exact as is affordable, on the CPU.
//
// The product of two floats is exact in double; products are summed in double and the sum is rounded once to
// float. The order of the sum is fixed: four running sums s0 .. s3, s_j taking k = j, j+4, j+8, ... upwards
// from 0.0, and then (s0 + s1) + (s2 + s3). So an output has the same bits whatever is computed beside it, on
// any machine. The relative error against the sum of magnitudes is below K * 2^-53, less than the final rounding.
//
// Cost: blocked for the cache, 128 KiB of stack, no allocation. NaN and infinity reach the outputs of their own
// row or column only.
#pragma once

#include <cstddef>

namespace rknpu2 {

// out[m * out_stride + n] = sum over k of a[m * a_stride + k] * b_rows[n * K + k], n < n_count.
void matmul_reference(const float* a, size_t a_stride, const float* b_rows, size_t M, size_t n_count,
                      size_t K, float* out, size_t out_stride);

}  // namespace rknpu2
