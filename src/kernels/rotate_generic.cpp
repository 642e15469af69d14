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

// The stages from kDistance on, each from one array into the other, the last one into `out`.
template <size_t kBlock, size_t kDistance>
[[gnu::always_inline]] inline void stages(float* __restrict from, float* __restrict other,
                                          float* __restrict out) {
    if constexpr (2 * kDistance == kBlock) {
        stage<kBlock, kDistance>(from, out);
    } else {
        stage<kBlock, kDistance>(from, other);
        stages<kBlock, 2 * kDistance>(other, from, out);
    }
}

template <size_t kBlock>
[[gnu::always_inline]] inline void rotate_block(const float* in, float* out) {
    float first[kBlock];
    float second[kBlock];
    stage<kBlock, 1>(in, first);
    stages<kBlock, 2>(first, second, out);
}

template <size_t kBlock, bool kScaled>
[[gnu::always_inline]] inline void rotate_row(const float* x, size_t K, size_t K_padded, const float* factors,
                                              float* out) {
    const size_t whole = K / kBlock * kBlock;
    for (size_t k = 0; k < whole; k += kBlock) {
        if constexpr (kScaled) {
            float scaled[kBlock];
            for (size_t i = 0; i < kBlock; ++i)
                scaled[i] = x[k + i] * factors[k + i];
            rotate_block<kBlock>(scaled, out + k);
        } else {
            rotate_block<kBlock>(x + k, out + k);
        }
    }
    for (size_t k = whole; k < K_padded; k += kBlock) {
        float padded[kBlock] = {};
        for (size_t i = k; i < K && i < k + kBlock; ++i)
            padded[i - k] = kScaled ? x[i] * factors[i] : x[i];
        rotate_block<kBlock>(padded, out + k);
    }
}

template <size_t kBlock>
[[gnu::always_inline]] inline void rotate_blocks(const float* x, size_t row_stride, size_t M, size_t K,
                                                 size_t K_padded, const float* factors, float* out) {
    for (size_t m = 0; m < M; ++m) {
        if (factors != nullptr) {
            rotate_row<kBlock, true>(x + m * row_stride, K, K_padded, factors, out + m * K_padded);
        } else {
            rotate_row<kBlock, false>(x + m * row_stride, K, K_padded, factors, out + m * K_padded);
        }
    }
}

}  // namespace

RKNPU2_CLONES void rotate_rows(const float* x, size_t row_stride, size_t M, size_t K, size_t K_padded,
                               const float* factors, float* out) {
    static_assert(kLargestRotation == 512);
    switch (rotation_block(K_padded)) {
        case 512:
            return rotate_blocks<512>(x, row_stride, M, K, K_padded, factors, out);
        case 256:
            return rotate_blocks<256>(x, row_stride, M, K, K_padded, factors, out);
        case 128:
            return rotate_blocks<128>(x, row_stride, M, K, K_padded, factors, out);
        case 64:
            return rotate_blocks<64>(x, row_stride, M, K, K_padded, factors, out);
        default:
            return rotate_blocks<32>(x, row_stride, M, K, K_padded, factors, out);
    }
}

}  // namespace rknpu2::generic
