// SPDX-License-Identifier: MIT
// AVX2, FMA and F16C inner loops for the blocking of blocked.hpp. This file alone is compiled with -mavx2
// -mfma -mf16c; it must contain no inline function or template that other files instantiate too, or the
// linker could hand AVX2 code to a CPU without it.
#include <immintrin.h>

#include "core/kernels/inner_avx2.hpp"

namespace rknnsim {
namespace {

constexpr size_t kAhead = 4096;  // bytes of B that are asked for before they are needed

inline __m256i load16(const int16_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline __m256i widen16(const int8_t* p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

void widen_b(const int8_t* b, size_t tiles, int16_t* panel) {
    const size_t strip_size = 2 * tiles * kStrip * kStep;
    for (size_t t = 0; t < tiles; ++t) {
        for (size_t n = 0; n < kGroup; ++n) {
            const int8_t* from = b + (t * kGroup + n) * 32;
            int16_t* to = panel + (n / kStrip) * strip_size + (2 * t * kStrip + n % kStrip) * kStep;
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), widen16(from));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + kStrip * kStep), widen16(from + kStep));
        }
    }
}

// The eight lanes of each of four vectors, summed: one atom of C.
inline __m128i sum_lanes(__m256i s0, __m256i s1, __m256i s2, __m256i s3) {
    const __m256i all = _mm256_hadd_epi32(_mm256_hadd_epi32(s0, s1), _mm256_hadd_epi32(s2, s3));
    return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

inline void store_atom(int32_t* to, __m128i sum, bool accumulate) {
    auto* at = reinterpret_cast<__m128i*>(to);
    if (accumulate) sum = _mm_add_epi32(sum, _mm_loadu_si128(at));
    _mm_storeu_si128(at, sum);
}

// s += the pairwise products of x and y; vpmaddwd is exact: two products of at most 2^14 each. In assembly,
// because g++ 12 would compute all products of a block first and then run out of registers.
inline void add_products(__m256i& s, __m256i x, __m256i y) {
    __m256i product;
    asm("vpmaddwd %[y], %[x], %[product]\n\tvpaddd %[product], %[s], %[s]"
        : [s] "+x"(s), [product] "=&x"(product)
        : [x] "x"(x), [y] "x"(y));
}
inline void add_products(__m256i& s, const int16_t* x, __m256i y) {
    __m256i product;
    asm("vpmaddwd %[x], %[y], %[product]\n\tvpaddd %[product], %[s], %[s]"
        : [s] "+x"(s), [product] "=&x"(product)
        : [x] "m"(*reinterpret_cast<const __m256i_u*>(x)), [y] "x"(y));
}

template <int kRows>
inline void multiply_block(const int16_t* a, const int16_t* b, size_t steps, int32_t* sums, bool accumulate) {
    __m256i s[kRows][kStrip];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (size_t n = 0; n < kStrip; ++n)
            s[r][n] = _mm256_setzero_si256();
    }
    for (size_t i = 0; i < steps; ++i) {
        // 12 sums, two rows of A, a vector of B and a product fill the 16 registers; the third row stays in
        // memory.
        const __m256i x0 = load16(a);
        const __m256i x1 = kRows > 1 ? load16(a + kStep) : x0;
#pragma GCC unroll 4
        for (size_t n = 0; n < kStrip; ++n) {
            const __m256i y = load16(b + n * kStep);
            add_products(s[0][n], x0, y);
            if constexpr (kRows > 1) add_products(s[1][n], x1, y);
            if constexpr (kRows > 2) add_products(s[2][n], a + 2 * kStep, y);
        }
        a += kRowBlock * kStep;
        b += kStrip * kStep;
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r)
        store_atom(sums + r * kStrip, sum_lanes(s[r][0], s[r][1], s[r][2], s[r][3]), accumulate);
}

void multiply(RowPanels a, const int16_t* panel, size_t steps, size_t row, size_t rows, size_t M,
              int32_t* sums, bool accumulate) {
    for (size_t strip = 0; strip < kGroup / kStrip; ++strip) {
        const int16_t* b = panel + strip * steps * kStrip * kStep;
        for (size_t m = row; m < row + rows; m += kRowBlock) {
            const int16_t* x = a.data + (m / kRowBlock) * a.stride;
            int32_t* to = sums + (strip * M + m) * kStrip;
            switch (row + rows - m) {
                case 1:
                    multiply_block<1>(x, b, steps, to, accumulate);
                    break;
                case 2:
                    multiply_block<2>(x, b, steps, to, accumulate);
                    break;
                default:
                    multiply_block<3>(x, b, steps, to, accumulate);
                    break;
            }
        }
    }
}

// kRows rows times kColumns columns of one int8 tile; adds to sums in vector form.
template <int kRows, int kColumns>
inline void add_tile(const int16_t* a, const int8_t* b, __m256i* sums) {
#pragma GCC unroll 4
    for (int line = 0; line < kColumns / 2; ++line)
        _mm_prefetch(reinterpret_cast<const char*>(b + kAhead + line * 64), _MM_HINT_T0);
    __m256i s[kRows][kColumns];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (int n = 0; n < kColumns; ++n)
            s[r][n] = _mm256_load_si256(sums + r * kGroup + n);
    }
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
#pragma GCC unroll 8
        for (int n = 0; n < kColumns; ++n) {
            const __m256i y = widen16(b + n * 32 + half * 16);
#pragma GCC unroll 4
            for (int r = 0; r < kRows; ++r)
                add_products(s[r][n], a + (half * kRowBlock + r) * kStep, y);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (int n = 0; n < kColumns; ++n)
            _mm256_store_si256(sums + r * kGroup + n, s[r][n]);
    }
}

// Few rows are limited by how fast B arrives from memory, so B is read strictly in the order in which it lies
// there and the sums wait in the cache: 16.6 GB/s of weights on a machine that reads 20, against 12.5 with
// sums in registers and B read in strides.
template <int kRows, int kColumns>
inline void multiply_rows(const int16_t* a, const int8_t* b, size_t tiles, int32_t* sums, bool accumulate) {
    alignas(32) __m256i s[kRows * kGroup];
    for (__m256i& v : s)
        v = _mm256_setzero_si256();
    for (size_t t = 0; t < tiles; ++t) {
        for (size_t n = 0; n < kGroup; n += kColumns)
            add_tile<kRows, kColumns>(a + t * 2 * kRowBlock * kStep, b + (t * kGroup + n) * 32, s + n);
    }
    for (size_t n = 0; n < kGroup; n += kStrip) {
        for (size_t r = 0; r < kRows; ++r) {
            const __m256i* v = s + r * kGroup + n;
            store_atom(sums + (n / kStrip * kRows + r) * kStrip, sum_lanes(v[0], v[1], v[2], v[3]),
                       accumulate);
        }
    }
}

void multiply_few(const int16_t* a, const int8_t* b, size_t tiles, size_t M, int32_t* sums, bool accumulate) {
    if (M == 1) {
        multiply_rows<1, 8>(a, b, tiles, sums, accumulate);
    } else if (M == 2) {
        multiply_rows<2, 4>(a, b, tiles, sums, accumulate);
    } else {
        multiply_rows<3, 4>(a, b, tiles, sums, accumulate);
    }
}

void widen(const uint16_t* from, size_t count, float* to) {
    for (size_t i = 0; i < count; i += 8) {
        const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(halves));
    }
}

// Rows n and n+8 of a tile, 8 k each, side by side in one vector.
inline __m256i load_pair(const uint16_t* tile, size_t n, size_t k) {
    const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(tile + n * 32 + k));
    const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(tile + (n + 8) * 32 + k));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

inline void store_widened(float* to, __m256i halves) {
    _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm256_castsi256_si128(halves)));
    _mm256_storeu_ps(to + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1)));
}

// An 8 x 8 transposition of 16-bit elements in each 128-bit lane, four times.
void transpose_tile(const uint16_t* tile, float* to) {
    for (size_t k = 0; k < 32; k += 8) {
        __m256i r[8];
        for (size_t n = 0; n < 8; ++n)
            r[n] = load_pair(tile, n, k);
        __m256i s[8];
        for (int i = 0; i < 4; ++i) {
            s[2 * i] = _mm256_unpacklo_epi16(r[2 * i], r[2 * i + 1]);
            s[2 * i + 1] = _mm256_unpackhi_epi16(r[2 * i], r[2 * i + 1]);
        }
        __m256i t[8];
        for (int i = 0; i < 2; ++i) {
            for (int j = 0; j < 2; ++j) {
                t[4 * i + 2 * j] = _mm256_unpacklo_epi32(s[4 * i + j], s[4 * i + 2 + j]);
                t[4 * i + 2 * j + 1] = _mm256_unpackhi_epi32(s[4 * i + j], s[4 * i + 2 + j]);
            }
        }
        for (size_t j = 0; j < 4; ++j) {
            store_widened(to + (k + 2 * j) * kFloatGroup, _mm256_unpacklo_epi64(t[j], t[4 + j]));
            store_widened(to + (k + 2 * j + 1) * kFloatGroup, _mm256_unpackhi_epi64(t[j], t[4 + j]));
        }
    }
}

inline void add_to(double* sums, __m256 lanes) {
    const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(lanes));
    const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(lanes, 1));
    _mm256_storeu_pd(sums, _mm256_add_pd(_mm256_loadu_pd(sums), low));
    _mm256_storeu_pd(sums + 4, _mm256_add_pd(_mm256_loadu_pd(sums + 4), high));
}

// A block's fp32 sums on their way to the fp64 ones. Converting them at the end of each block would hold up
// the multiplications for an eighth of the time, so it is spread over the next block: four numbers with each
// k.
struct Pending {
    static constexpr int kFours = static_cast<int>(kFloatRows * kFloatGroup / 4);
    alignas(32) float lanes[kFloatRows * kFloatGroup] = {};
    double none[kFloatRows * kFloatGroup] = {};
    double* sums = none;  // where they belong

    void add_all() {
        for (int i = 0; i < kFours; ++i)
            add_four(lanes + 4 * i, sums + 4 * i);
    }
    static void add_four(const float* from, double* to) {
        const __m256d four = _mm256_cvtps_pd(_mm_load_ps(from));
        _mm256_storeu_pd(to, _mm256_add_pd(_mm256_loadu_pd(to), four));
    }
};

// s += x * y, in assembly so that g++ 12 keeps every sum in its register when it unrolls. The products are
// exact, so a fused multiply-add rounds exactly where a multiplication followed by an addition would.
inline void add_product(__m256& s, __m256 x, __m256 y) {
    asm("vfmadd231ps %[y], %[x], %[s]" : [s] "+x"(s) : [x] "x"(x), [y] "x"(y));
}

template <int kRows>
struct FloatBlock {
    __m256 s[kRows][2];

    // A first product of -0 differs from +0 + -0; it makes no difference once it is added to the fp64 sum,
    // which is never -0.
    void start(const float* a, const float* tile) {
        const __m256 y0 = _mm256_loadu_ps(tile);
        const __m256 y1 = _mm256_loadu_ps(tile + 8);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            const __m256 x = _mm256_broadcast_ss(a + r * 32);
            s[r][0] = _mm256_mul_ps(x, y0);
            s[r][1] = _mm256_mul_ps(x, y1);
        }
    }
    void add(const float* a, const float* tile) {
        const __m256 y0 = _mm256_loadu_ps(tile);
        const __m256 y1 = _mm256_loadu_ps(tile + 8);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            const __m256 x = _mm256_broadcast_ss(a + r * 32);
            add_product(s[r][0], x, y0);
            add_product(s[r][1], x, y1);
        }
    }
};

// Six rows times one tile; the sums of the block before are dealt with on the way.
inline void multiply_six(const float* a, const float* tile, double* sums, Pending& pending) {
    FloatBlock<kFloatRows> block;
    block.start(a, tile);
#pragma GCC unroll 8
    for (int k = 1; k < 8; ++k)
        block.add(a + k, tile + k * static_cast<int>(kFloatGroup));
    static_assert(Pending::kFours == 24);
    const float* from = pending.lanes;
    double* to = pending.sums;  // in a register: the compiler must assume that the stores change the member
    for (int i = 8; i < 32; i += 8) {
#pragma GCC unroll 8
        for (int k = 0; k < 8; ++k) {
            block.add(a + i + k, tile + (i + k) * static_cast<int>(kFloatGroup));
            Pending::add_four(from + 4 * k, to + 4 * k);
        }
        from += 32;
        to += 32;
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < kFloatRows; ++r) {
        _mm256_store_ps(pending.lanes + r * kFloatGroup, block.s[r][0]);
        _mm256_store_ps(pending.lanes + r * kFloatGroup + 8, block.s[r][1]);
    }
    pending.sums = sums;
}

template <int kRows>
void multiply_rest(const float* a, const float* tile, double* sums) {
    FloatBlock<kRows> block;
    block.start(a, tile);
    for (int k = 1; k < 32; ++k)
        block.add(a + k, tile + k * static_cast<int>(kFloatGroup));
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
        add_to(sums + r * kFloatGroup, block.s[r][0]);
        add_to(sums + r * kFloatGroup + 8, block.s[r][1]);
    }
}

void multiply_rest(const float* a, size_t rows, const float* tile, double* sums) {
    switch (rows) {
        case 1:
            return multiply_rest<1>(a, tile, sums);
        case 2:
            return multiply_rest<2>(a, tile, sums);
        case 3:
            return multiply_rest<3>(a, tile, sums);
        case 4:
            return multiply_rest<4>(a, tile, sums);
        case 5:
            return multiply_rest<5>(a, tile, sums);
        default:
            return;
    }
}

// One row times the tiles of all groups at once, whose sums hide each other's latency.
void multiply_row(const float* a, const float* tiles, double* sums, size_t stride) {
    __m256 s[kFloatGroupsAtOnce][2];
#pragma GCC unroll 4
    for (auto& group : s)
        group[0] = group[1] = _mm256_setzero_ps();
    for (size_t k = 0; k < 32; ++k) {
        const __m256 x = _mm256_broadcast_ss(a + k);
#pragma GCC unroll 4
        for (size_t g = 0; g < kFloatGroupsAtOnce; ++g) {
            const float* tile = tiles + (g * 32 + k) * kFloatGroup;
            s[g][0] = _mm256_fmadd_ps(x, _mm256_loadu_ps(tile), s[g][0]);
            s[g][1] = _mm256_fmadd_ps(x, _mm256_loadu_ps(tile + 8), s[g][1]);
        }
    }
#pragma GCC unroll 4
    for (size_t g = 0; g < kFloatGroupsAtOnce; ++g) {
        add_to(sums + g * stride * kFloatGroup, s[g][0]);
        add_to(sums + g * stride * kFloatGroup + 8, s[g][1]);
    }
}

void multiply_floats(const FloatOperands& from, size_t rows, double* sums, size_t stride) {
    if (rows == 1 && from.groups == kFloatGroupsAtOnce) {
        for (size_t i = 0; i < from.depth; ++i)
            multiply_row(from.a_at(i), from.tile_at(0, i), sums, stride);
        return;
    }
    Pending pending;
    for (size_t i = 0; i < from.depth; ++i) {
        for (size_t g = 0; g < from.groups; ++g) {
            for (size_t r = 0; r < rows; r += kFloatRows) {
                double* to = sums + (g * stride + r) * kFloatGroup;
                const float* a = from.a_at(i) + r * 32;
                if (rows - r >= kFloatRows) {
                    multiply_six(a, from.tile_at(g, i), to, pending);
                } else {
                    multiply_rest(a, rows - r, from.tile_at(g, i), to);
                }
            }
        }
    }
    pending.add_all();
}

}  // namespace

const IntKernels kAvx2Ints = {widen_b, multiply, multiply_few};
const FloatKernels kAvx2Floats = {widen, transpose_tile, multiply_floats};

}  // namespace rknnsim
