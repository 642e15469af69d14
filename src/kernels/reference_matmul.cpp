// SPDX-License-Identifier: MIT
#include "kernels/reference_matmul.hpp"

#include "kernels/lanes/generic.hpp"

namespace rknpu2 {
namespace {

float dot_reference(const float* a, const float* b, size_t K) {
    double sums[4] = {};
    for (size_t k = 0; k < K; ++k)
        sums[k % 4] += static_cast<double>(a[k]) * static_cast<double>(b[k]);
    return static_cast<float>((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

void multiply(const float* a, size_t a_stride, const float* b_rows, size_t M, size_t n_count, size_t K,
              float* out, size_t out_stride) {
    for (size_t m = 0; m < M; ++m)
        for (size_t n = 0; n < n_count; ++n)
            out[m * out_stride + n] = dot_reference(a + m * a_stride, b_rows + n * K, K);
}

}  // namespace

void matmul_reference(const float* a, size_t a_stride, const float* b_rows, size_t M, size_t n_count,
                      size_t K, float* out, size_t out_stride, KernelTier tier) {
    of_tier(tier, multiply, generic::matmul_reference, avx2::matmul_reference)(a, a_stride, b_rows, M,
                                                                               n_count, K, out, out_stride);
}

}  // namespace rknpu2
