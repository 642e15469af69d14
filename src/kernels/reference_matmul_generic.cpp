#include <algorithm>
#include <cstring>

#include "kernels/generic.hpp"

namespace rknpu2::generic {
namespace {

// The four running sums of an output are one vector. A tile of kTileM x kTileN outputs keeps its sums in
// registers while K goes by; between slices of K they rest in `Sums`, unrounded, so blocking changes no bit.
using Float4 = float __attribute__((vector_size(16)));
using Double4 = double __attribute__((vector_size(32)));

inline constexpr size_t kBlockM = 32;
inline constexpr size_t kBlockN = 48;
inline constexpr size_t kSliceK = 512;  // a multiple of 4: every slice starts with sum 0

struct Sums {
    Double4 of[kBlockM][kBlockN];
};

template <size_t kTileM, size_t kTileN>
[[gnu::always_inline]] inline void add_tile(const float* a, size_t a_stride, const float* b, size_t K,
                                            size_t depth, Sums& sums, size_t m, size_t n) {
    Double4 acc[kTileM][kTileN];
    for (size_t i = 0; i < kTileM; ++i) {
        for (size_t j = 0; j < kTileN; ++j)
            acc[i][j] = sums.of[m + i][n + j];
    }
    const size_t whole = depth / 4 * 4;
    for (size_t k = 0; k < whole; k += 4) {
        Double4 right[kTileN];
        for (size_t j = 0; j < kTileN; ++j) {
            Float4 narrow;
            std::memcpy(&narrow, b + (n + j) * K + k, sizeof narrow);
            right[j] = __builtin_convertvector(narrow, Double4);
        }
        for (size_t i = 0; i < kTileM; ++i) {
            Float4 narrow;
            std::memcpy(&narrow, a + (m + i) * a_stride + k, sizeof narrow);
            const Double4 left = __builtin_convertvector(narrow, Double4);
            for (size_t j = 0; j < kTileN; ++j)
                acc[i][j] += left * right[j];
        }
    }
    for (size_t i = 0; i < kTileM; ++i) {
        for (size_t j = 0; j < kTileN; ++j) {
            for (size_t k = whole; k < depth; ++k)
                acc[i][j][k - whole] +=
                    static_cast<double>(a[(m + i) * a_stride + k]) * static_cast<double>(b[(n + j) * K + k]);
            sums.of[m + i][n + j] = acc[i][j];
        }
    }
}

// All outputs of a block for one slice of K, in tiles of kTileM x kTileN and what is left over one by one.
template <size_t kTileM, size_t kTileN>
[[gnu::always_inline]] inline void add_block(const float* a, size_t a_stride, const float* b, size_t K,
                                             size_t depth, Sums& sums, size_t M, size_t N) {
    size_t n = 0;
    for (; n + kTileN <= N; n += kTileN) {
        size_t m = 0;
        for (; m + kTileM <= M; m += kTileM)
            add_tile<kTileM, kTileN>(a, a_stride, b, K, depth, sums, m, n);
        for (; m < M; ++m)
            add_tile<1, kTileN>(a, a_stride, b, K, depth, sums, m, n);
    }
    for (; n < N; ++n) {
        for (size_t m = 0; m < M; ++m)
            add_tile<1, 1>(a, a_stride, b, K, depth, sums, m, n);
    }
}

}  // namespace

RKNPU2_CLONES void matmul_reference(const float* a, size_t a_stride, const float* b_rows, size_t M,
                                    size_t n_count, size_t K, float* out, size_t out_stride) {
    for (size_t nb = 0; nb < n_count; nb += kBlockN) {
        const size_t N = std::min(kBlockN, n_count - nb);
        for (size_t mb = 0; mb < M; mb += kBlockM) {
            const size_t rows = std::min(kBlockM, M - mb);
            Sums sums;
            for (size_t m = 0; m < rows; ++m)
                std::memset(&sums.of[m], 0, N * sizeof(Double4));
            for (size_t k = 0; k < K; k += kSliceK) {
                const float* left = a + mb * a_stride + k;
                const float* right = b_rows + nb * K + k;
                const size_t depth = std::min(kSliceK, K - k);
                if (rows == 1) {
                    add_block<1, 8>(left, a_stride, right, K, depth, sums, rows, N);
                } else {
                    add_block<4, 3>(left, a_stride, right, K, depth, sums, rows, N);
                }
            }
            for (size_t m = 0; m < rows; ++m) {
                for (size_t n = 0; n < N; ++n) {
                    const Double4& s = sums.of[m][n];
                    out[(mb + m) * out_stride + nb + n] = static_cast<float>((s[0] + s[1]) + (s[2] + s[3]));
                }
            }
        }
    }
}

}  // namespace rknpu2::generic
