// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstring>

#include "kernels/lanes/generic.hpp"
#include "kernels/reference_matmul.hpp"

namespace rknpu2 {
namespace {

// The four running sums of an output are one vector; so are four neighbours in K of an operand.
using Double4 = double __attribute__((vector_size(32)));

// Spelt out, because g++ 12 turns this into one conversion and __builtin_convertvector into six instructions.
[[gnu::always_inline]] inline void widen(const float* from, Double4& to) {
    to = Double4{static_cast<double>(from[0]), static_cast<double>(from[1]), static_cast<double>(from[2]),
                 static_cast<double>(from[3])};
}

// The last vector of a row may be partial: filled up with zeros, which change no sum (0 * 0 = +0, and a sum
// that began as +0 never becomes -0).
[[gnu::always_inline]] inline void widen_row(const float* from, size_t depth, Double4* to) {
    size_t k = 0;
    for (; k + 4 <= depth; k += 4)
        widen(from + k, to[k / 4]);
    if (k < depth) {
        float rest[4] = {};
        std::memcpy(rest, from + k, (depth - k) * sizeof(float));
        widen(rest, to[k / 4]);
    }
}

[[gnu::always_inline]] inline float finish(const Double4& s) {
    return static_cast<float>((s[0] + s[1]) + (s[2] + s[3]));
}

// ---- Few rows: each weight is used once or twice, so it is widened where it is used.

inline constexpr size_t kFewRows = 4;  // fewer than this

template <size_t kColumns>
[[gnu::always_inline]] inline void dot_columns(const float* a, const float* b, size_t K, float* out) {
    Double4 sums[kColumns] = {};
    Double4 left;
    Double4 right;
    const size_t whole = K / 4 * 4;
    for (size_t k = 0; k < whole; k += 4) {
        widen(a + k, left);
        for (size_t j = 0; j < kColumns; ++j) {
            widen(b + j * K + k, right);
            sums[j] += left * right;
        }
    }
    for (size_t j = 0; j < kColumns; ++j) {
        if (whole < K) {
            widen_row(a + whole, K - whole, &left);
            widen_row(b + j * K + whole, K - whole, &right);
            sums[j] += left * right;
        }
        out[j] = finish(sums[j]);
    }
}

[[gnu::always_inline]] inline void multiply_row(const float* a, const float* b_rows, size_t n_count, size_t K,
                                                float* out) {
    size_t n = 0;
    for (; n + 8 <= n_count; n += 8)
        dot_columns<8>(a, b_rows + n * K, K, out + n);
    for (; n < n_count; ++n)
        dot_columns<1>(a, b_rows + n * K, K, out + n);
}

// ---- Many rows: blocks of both operands are widened into panels, contiguous (rows a power of two apart
// would share cache sets), and multiplied in tiles whose sums stay in registers. Between slices of K the sums
// rest in memory, unrounded, so blocking changes no bit. Unused rows and columns of a tile are computed and
// ignored.

inline constexpr size_t kTileM = 4;
inline constexpr size_t kTileN = 3;
inline constexpr size_t kBlockM = 32;
inline constexpr size_t kBlockN = 48;
inline constexpr size_t kSliceK = 128;  // a multiple of 4: every slice starts with sum 0

struct Panels {
    Double4 a[kBlockM][kSliceK / 4];
    Double4 b[kBlockN][kSliceK / 4];
    Double4 sums[kBlockM][kBlockN];
};

[[gnu::always_inline]] inline void add_tile(Panels& p, size_t m, size_t n, size_t vectors) {
    Double4 acc[kTileM][kTileN];
    for (size_t i = 0; i < kTileM; ++i)
        for (size_t j = 0; j < kTileN; ++j)
            acc[i][j] = p.sums[m + i][n + j];
    for (size_t k = 0; k < vectors; ++k) {
        for (size_t i = 0; i < kTileM; ++i)
            for (size_t j = 0; j < kTileN; ++j)
                acc[i][j] += p.a[m + i][k] * p.b[n + j][k];
    }
    for (size_t i = 0; i < kTileM; ++i)
        for (size_t j = 0; j < kTileN; ++j)
            p.sums[m + i][n + j] = acc[i][j];
}

[[gnu::always_inline]] inline void multiply_block(const float* a, size_t a_stride, const float* b_rows,
                                                  size_t M, size_t N, size_t K, float* out,
                                                  size_t out_stride) {
    Panels p;
    std::memset(&p, 0, sizeof p);
    for (size_t k = 0; k < K; k += kSliceK) {
        const size_t depth = std::min(kSliceK, K - k);
        for (size_t m = 0; m < M; ++m)
            widen_row(a + m * a_stride + k, depth, p.a[m]);
        for (size_t n = 0; n < N; ++n)
            widen_row(b_rows + n * K + k, depth, p.b[n]);
        for (size_t n = 0; n < N; n += kTileN)
            for (size_t m = 0; m < M; m += kTileM)
                add_tile(p, m, n, (depth + 3) / 4);
    }
    for (size_t m = 0; m < M; ++m)
        for (size_t n = 0; n < N; ++n)
            out[m * out_stride + n] = finish(p.sums[m][n]);
}

}  // namespace

RKNPU2_CLONES void matmul_reference(const float* a, size_t a_stride, const float* b_rows, size_t M,
                                    size_t n_count, size_t K, float* out, size_t out_stride) {
    if (M < kFewRows) {
        for (size_t m = 0; m < M; ++m)
            multiply_row(a + m * a_stride, b_rows, n_count, K, out + m * out_stride);
        return;
    }
    for (size_t n = 0; n < n_count; n += kBlockN) {
        for (size_t m = 0; m < M; m += kBlockM) {
            multiply_block(a + m * a_stride, a_stride, b_rows + n * K, std::min(kBlockM, M - m),
                           std::min(kBlockN, n_count - n), K, out + m * out_stride + n, out_stride);
        }
    }
}

}  // namespace rknpu2
