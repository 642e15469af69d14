// SPDX-License-Identifier: MIT
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "kernels/lanes/generic.hpp"
#include "kernels/lanes/lanes.hpp"
#include "kernels/scale.hpp"
#include "matrix/layout.hpp"

namespace rknpu2::generic {
namespace {

constexpr size_t kAtom = kAtomBytes / sizeof(uint16_t);

// Deals runs of kRows rows out to the cube, atom by atom with the rows in the inner loop: neighbouring rows
// of an atom column share a cache line, which is thus written whole.
template <size_t kRows>
[[gnu::always_inline]] inline void deal_atoms(const uint16_t (*runs)[kRun], size_t count,
                                              size_t column_stride, uint16_t* column) {
    for (size_t i = 0; i < count; i += kAtom, column += column_stride)
        for (size_t m = 0; m < kRows; ++m)
            std::memcpy(column + m * kAtom, &runs[m][i], kAtomBytes);
}

template <size_t kRows>
[[gnu::always_inline]] inline void store_group(const RowsToCube<uint16_t> rows, const float* factors) {
    uint16_t runs[kRows][kRun];
    for (size_t k = 0; k < rows.K_padded; k += kRun) {
        const size_t count = std::min(kRun, rows.K_padded - k);
        for (size_t m = 0; m < kRows; ++m)
            convert_run<HalfLanes>(rows.x + m * rows.row_stride, factors[m], rows.K, k, count, runs[m]);
        deal_atoms<kRows>(runs, count, rows.M_total * kAtom,
                          rows.native + k * rows.M_total + rows.m0 * kAtom);
    }
}

}  // namespace

// A cube of one row is the plain row. Otherwise groups of kRowGroup, where the loops have constant counts,
// and single rows at the edges.
RKNPU2_CLONES void store_rows_fp16(const RowsToCube<uint16_t>& rows, const float* scales) {
    float factors[kRowGroup];
    for (size_t m = 0; m < rows.M; ++m)
        factors[m] = storing_factor(scales[m]);
    if (rows.M_total == 1 && rows.M == 1) {
        convert_run<HalfLanes>(rows.x, factors[0], rows.K, 0, rows.K_padded, rows.native);
    } else if (rows.M == kRowGroup) {
        store_group<kRowGroup>(rows, factors);
    } else {
        for (size_t m = 0; m < rows.M; ++m)
            store_group<1>(rows.part(m, 1), factors + m);
    }
}

}  // namespace rknpu2::generic

namespace rknpu2 {

// Floats without their sign are ordered as their bit patterns are, with every NaN above infinity: an integer
// maximum needs no care for NaN and vectorises, which float compares in a reduction do not.
RKNPU2_CLONES float row_absmax(const float* x, size_t K) {
    int32_t largest = 0;
    for (size_t k = 0; k < K; ++k) {
        const int32_t bits = std::bit_cast<int32_t>(x[k]) & 0x7FFFFFFF;
        largest = bits > largest ? bits : largest;
    }
    return largest < 0x7F800000 ? std::bit_cast<float>(largest) : std::numeric_limits<float>::quiet_NaN();
}

}  // namespace rknpu2
