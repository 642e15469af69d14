// SPDX-License-Identifier: MIT
// The entry points of the generic tier, one for each operation of quantise.hpp, rotate.hpp, mix.hpp,
// pack.hpp, dequantise.hpp and reference_matmul.hpp, which say what they do; and those of the tier kAvx2,
// which has some of its own and shares the others. Only the dispatching files of this folder include this.
//
// RKNPU2_CLONES compiles a function twice on x86-64, for the baseline and for AVX2 (x86-64-v3), and the
// loader picks one. The bits are equal: contraction is off, so nothing becomes a fused multiply-add. The
// selection runs before sanitizers have set up their state, and crashes under ThreadSanitizer: not there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dequantise.hpp"
#include "kernels/pack.hpp"
#include "kernels/quantise.hpp"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define RKNPU2_CLONES __attribute__((target_clones("default", "arch=x86-64-v3")))
#else
#define RKNPU2_CLONES
#endif

namespace rknpu2 {

// As RowsToCube<int8_t>, in the form that the vector loops walk: `native` points at the first row's first atom.
struct CubeWalk {
    const float* x;
    size_t row_stride;
    size_t K;
    size_t K_padded;
    int8_t* native;
    size_t column_stride;  // from one atom of a row to its next
};

}  // namespace rknpu2

namespace rknpu2::generic {

float row_absmax(const float* x, size_t K);

// M <= kRowGroup. fits: no value is beyond 127 when multiplied by its row's factor; others are clamped. Rows
// whose factor is 0 are stored as zeros. totals: M sums of what was stored, or nullptr.
void store_rows_int8(const CubeWalk& rows, size_t M, const float* factors, bool fits, int32_t* totals);
// The second plane: what store_rows_int8 leaves of rows that fit, in steps 254 times finer.
void store_residuals_int8(const CubeWalk& rows, size_t M, const float* factors, int32_t* totals);
// scales[m] is read: the caller has chosen it.
void store_rows_fp16(const RowsToCube<uint16_t>& rows, const float* scales);

void rotate_rows(const float* x, size_t row_stride, size_t M, size_t K, size_t K_padded, const float* factors,
                 float* out, float* absmax);

// p is 3, 5 or 7; step: elements of a block, a multiple of 16.
void reflect_blocks(float* rows, size_t M, size_t K, size_t p, size_t step);

void pack_rows_int8(const RowsToBlock<int8_t>& rows, const float* scales);
// sums: kPartialSums of them (pack.hpp), added to. factor: storing_factor(scale), not 0.
void add_rounding_errors_int8(const float* row, size_t K, float scale, float factor, const float* values,
                              double* sums);
void pack_rows_fp16(const RowsToBlock<uint16_t>& rows, const float* scales);

void dequantise_rows_int32(const int32_t* native, size_t M_total, size_t m0, size_t M, size_t N,
                           const float* row_scales, const float* channel_scales, float* out,
                           size_t out_stride, Accumulate mode);
void scale_rows_fp32(const float* native, size_t M_total, size_t m0, size_t M, size_t N,
                     const float* row_scales, const float* channel_scales, float* out, size_t out_stride,
                     Accumulate mode);
void add_int32(int32_t* dst, const int32_t* src, size_t count);

void matmul_reference(const float* a, size_t a_stride, const float* b_rows, size_t M, size_t n_count,
                      size_t K, float* out, size_t out_stride);

}  // namespace rknpu2::generic

#if defined(__x86_64__)
namespace rknpu2::avx2 {

using generic::add_int32;
using generic::add_rounding_errors_int8;
using generic::matmul_reference;
using generic::pack_rows_fp16;
using generic::pack_rows_int8;
using generic::reflect_blocks;
using generic::row_absmax;
using generic::store_rows_fp16;

void rotate_rows(const float* x, size_t row_stride, size_t M, size_t K, size_t K_padded, const float* factors,
                 float* out, float* absmax);
void store_rows_int8(const CubeWalk& rows, size_t M, const float* factors, bool fits, int32_t* totals);
void store_residuals_int8(const CubeWalk& rows, size_t M, const float* factors, int32_t* totals);
void dequantise_rows_int32(const int32_t* native, size_t M_total, size_t m0, size_t M, size_t N,
                           const float* row_scales, const float* channel_scales, float* out,
                           size_t out_stride, Accumulate mode);
void scale_rows_fp32(const float* native, size_t M_total, size_t m0, size_t M, size_t N,
                     const float* row_scales, const float* channel_scales, float* out, size_t out_stride,
                     Accumulate mode);

}  // namespace rknpu2::avx2
#else
namespace rknpu2 {
namespace avx2 = generic;  // never chosen
}
#endif
