// SPDX-License-Identifier: MIT
// The blocking shared by the generic and the avx2 tier; a tier supplies only the inner loops.
//
// Integers. A is widened once per run to int16 panels of kRowBlock rows, [M/3][K/16][3][16], the last panel
// filled with zero rows. For each group of 32 columns and each chunk of K, B is widened to [8][k/16][4][16]
// int16: eight strips of four columns. A strip times a row panel is a block of 3 x 4 dot products along k,
// whose four columns are exactly one 16-byte atom of C native int32; so the sums of a group, [8][M][4] int32,
// *are* its part of C. For few rows widening B would cost more than it saves: multiply_few() widens on the
// fly.
//
// Floats. A is widened once per run to fp32, [M/48][K/32][48][32]. B tiles of 16 columns by 32 k are
// transposed to fp32 [32][16], so that one vector lane is one column and adds its 32 products in ascending k,
// as job.hpp demands.
#pragma once

#include "core/kernels/job.hpp"
#include "core/kernels/scratch.hpp"

namespace rknnsim {

inline constexpr size_t kRowBlock = 3;
inline constexpr size_t kStrip = 4;        // columns of one atom of C
inline constexpr size_t kGroup = 32;       // columns per B panel
inline constexpr size_t kStep = 16;        // k per vector of int16
inline constexpr size_t kFewRows = 3;      // up to here B is widened on the fly
inline constexpr size_t kFloatGroup = 16;  // columns of one fp16 tile
inline constexpr size_t kFloatGroupsAtOnce = 2;
inline constexpr size_t kFloatRows = 6;  // a multiple of this at a time is best

inline int16_t widen_int8(int8_t x) {
    return static_cast<int16_t>(x);  // NOLINT(bugprone-signed-char-misuse): numbers, not characters
}

// int16 panels of A.
struct RowPanels {
    const int16_t* data;  // the first panel, at the first step of this chunk
    size_t stride;        // int16 between panels
};

struct IntKernels {
    // 32 columns x `tiles` tiles of int8 to [8][2*tiles][4][16] int16.
    void (*widen_b)(const int8_t* b, size_t tiles, int16_t* panel);
    // sums [8][M][4]; rows [row, row + rows) with row a multiple of kRowBlock; adds when `accumulate`.
    void (*multiply)(RowPanels a, const int16_t* panel, size_t steps, size_t row, size_t rows, size_t M,
                     int32_t* sums, bool accumulate);
    // As multiply() for M <= kFewRows rows; B is one group of 32 columns in its own int8 form.
    void (*multiply_few)(const int16_t* a, const int8_t* b, size_t tiles, size_t M, int32_t* sums,
                         bool accumulate);
};

// What a float kernel multiplies: `depth` slices of A, each [rows][32], and as many tiles [32][16] of each of
// `groups` groups of columns.
struct FloatOperands {
    const float* a;
    size_t a_stride;     // floats from slice to slice
    const float* tiles;  // [depth][kFloatGroupsAtOnce][32][16]
    size_t depth;
    size_t groups;

    const float* a_at(size_t i) const { return a + i * a_stride; }
    const float* tile_at(size_t group, size_t i) const {
        return tiles + (i * kFloatGroupsAtOnce + group) * 32 * kFloatGroup;
    }
};

struct FloatKernels {
    // `count` elements.
    void (*widen)(const uint16_t* from, size_t count, float* to);
    // One tile [16][32] fp16 to [32][16] fp32.
    void (*transpose_tile)(const uint16_t* tile, float* to);
    // sums[group][row][16] += the products, slice by slice; `stride`: rows between groups in sums.
    void (*multiply)(const FloatOperands& from, size_t rows, double* sums, size_t stride);
};

bool load_a_int(const Job& job, Scratch& scratch);
bool multiply_int(const IntKernels& kernels, const Job& job, Scratch& scratch);
bool load_a_float(const FloatKernels& kernels, const Job& job, Scratch& scratch);
bool multiply_float(const FloatKernels& kernels, const Job& job, Scratch& scratch);

inline bool load_a_blocked(const FloatKernels& floats, const Job& job, Scratch& scratch) {
    return is_float(job.type) ? load_a_float(floats, job, scratch) : load_a_int(job, scratch);
}

inline bool multiply_blocked(const IntKernels& ints, const FloatKernels& floats, const Job& job,
                             Scratch& scratch) {
    return is_float(job.type) ? multiply_float(floats, job, scratch) : multiply_int(ints, job, scratch);
}

}  // namespace rknnsim
