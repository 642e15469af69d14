#include <algorithm>
#include <cstring>

#include "kernels/generic.hpp"
#include "kernels/rotate.hpp"

namespace rknpu2::generic {
namespace {

// One stage of butterflies over a block that lies in a small array: the distances are constants, so the loops
// become vector additions and, below the width of a vector, shuffles.
template <size_t kBlock, size_t kDistance>
[[gnu::always_inline]] inline void stage(const float* __restrict in, float* __restrict out) {
    for (size_t i = 0; i < kBlock; i += 2 * kDistance) {
        for (size_t j = 0; j < kDistance; ++j) {
            const float low = in[i + j];
            const float high = in[i + j + kDistance];
            out[i + j] = low + high;
            out[i + j + kDistance] = low - high;
        }
    }
}

template <size_t kBlock>
[[gnu::always_inline]] inline void rotate_block(const float* in, float* out) {
    float first[kBlock];
    float second[kBlock];
    stage<kBlock, 1>(in, first);
    stage<kBlock, 2>(first, second);
    stage<kBlock, 4>(second, first);
    stage<kBlock, 8>(first, second);
    if constexpr (kBlock == 64) {
        stage<kBlock, 16>(second, first);
        stage<kBlock, 32>(first, out);
    } else {
        static_assert(kBlock == 32);
        stage<kBlock, 16>(second, out);
    }
}

template <size_t kBlock>
[[gnu::always_inline]] inline void rotate_row(const float* x, size_t K, size_t K_padded, float* out) {
    const size_t whole = K / kBlock * kBlock;
    for (size_t k = 0; k < whole; k += kBlock)
        rotate_block<kBlock>(x + k, out + k);
    for (size_t k = whole; k < K_padded; k += kBlock) {
        float padded[kBlock] = {};
        if (k < K) std::memcpy(padded, x + k, (K - k) * sizeof(float));
        rotate_block<kBlock>(padded, out + k);
    }
}

}  // namespace

RKNPU2_CLONES void rotate_rows(const float* x, size_t row_stride, size_t M, size_t K, size_t K_padded,
                               float* out) {
    const bool large = rotation_block(K_padded) == kLargestRotation;
    for (size_t m = 0; m < M; ++m) {
        if (large) {
            rotate_row<kLargestRotation>(x + m * row_stride, K, K_padded, out + m * K_padded);
        } else {
            rotate_row<kLargestRotation / 2>(x + m * row_stride, K, K_padded, out + m * K_padded);
        }
    }
}

}  // namespace rknpu2::generic
