// SPDX-License-Identifier: MIT
// Four-bit weights times eight-bit activations on the int4 engine, exactly.
//
// The engine multiplies numbers of -8 .. 7 and its sums have 16 bits. So a code a of an activation, within
// +-119, becomes two digits, a = 16 * high + low, in two rows of the cube, and a long row is cut along K into
// pieces, each in rows of its own with zeros elsewhere. What the rows give is put together in 32 bits:
//
//   sum over k of a * w  =  sum over pieces of 16 * high sum + low sum
//
// How many pieces there must be depends on the weight alone (pieces_that_fit()): so few that no activations
// whatsoever make a sum leave 16 bits. A row is never clipped, and never costs more than another one. Rows of
// the cube are ordered by plane: plane 2 * piece has the high digits, the next one the low ones.
//
// The cube is [K_padded / 32, M_total, 32] nibbles, a block of weights [N_padded / 64, K_padded / 32, 64, 32].
// A code is round(x * storing_factor(scale)), as in quantise.hpp, with scale = absmax / 119.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rknpu2 {

inline constexpr float kLargestCode = 119.0F;  // 7 * 16 + 7
inline constexpr int kLeastWeight = -8;
inline constexpr int kMostWeight = 7;

// As int8_scale().
float digit_scale(float absmax);

// Atoms (of 32 elements) where piece `piece` of a row of `atoms` begins; the next one's is where it ends.
constexpr size_t piece_begin(size_t atoms, size_t pieces, size_t piece) {
    return atoms * piece / pieces;
}

// Rows of floats, and the rows of a cube that they become. All counts are elements or rows.
struct RowsToDigits {
    const float* x;
    size_t row_stride;
    size_t M;
    size_t K;
    size_t K_padded;    // a multiple of 32
    size_t M_total;     // rows of the cube
    size_t m0;          // the row of each plane that the first row becomes
    size_t plane_rows;  // from one plane to the next
    size_t pieces;
    std::byte* native;  // the whole cube
};

// Writes every plane of the rows, whole. scales: M values, written, NaN for a row that is not finite, which is
// stored as zeros. sums: M values or nullptr; sums[m] += scales[m] * (sum of the row's codes). absmax:
// row_absmax() of each row, or nullptr.
void quantise_rows_digits(const RowsToDigits& rows, float* scales, float* sums, const float* absmax);

// Codes of weights, one a byte, and the kernels of a block that they become: kernels n0 .. n0+n_count-1, whole, with
// zeros from K to K_padded.
struct CodesToBlock {
    const int8_t* codes;
    size_t row_stride;
    size_t n0;
    size_t n_count;
    size_t K;
    size_t K_padded;
    std::byte* native;  // the whole block
};
void pack_codes(const CodesToBlock& codes);
// Clears kernels n_begin .. n_end-1 of a block.
void zero_codes(size_t n_begin, size_t n_end, size_t K_padded, std::byte* native);

// The smallest power of two of pieces with which no digits make a sum of these kernels leave 16 bits; at least
// `pieces`, which is a power of two. More of them, twice as many, do as well.
size_t pieces_that_fit(const CodesToBlock& codes, size_t pieces);

// What a run wrote, int16 [N / 8, M_total, 8], for some rows and columns of all planes.
struct DigitSums {
    const int16_t* native;  // of column 0, which is a multiple of 8
    size_t M_total;
    size_t m0;  // the row of plane 0 that comes first
    size_t M;
    size_t N;
    size_t plane_rows;
    size_t pieces;
};
// Puts the digits together: `out` becomes [N / 4 rounded up to whole atoms of 8 columns, M, 4], int32, which
// dequantise_rows() reads.
void join_digits(const DigitSums& sums, int32_t* out);

}  // namespace rknpu2
