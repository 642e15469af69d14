// SPDX-License-Identifier: MIT
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "kernels/lanes/four_lanes.hpp"
#include "kernels/lanes/generic.hpp"
#include "kernels/lanes/lanes.hpp"
#include "kernels/lanes/store_lanes.hpp"
#include "kernels/scale.hpp"
#include "matrix/layout.hpp"

namespace rknpu2::generic {
namespace {

// Deals runs of kRows rows out to the cube, atom by atom with the rows in the inner loop: neighbouring rows
// of an atom column share a cache line, which is thus written whole.
template <size_t kRows, typename Element>
[[gnu::always_inline]] inline void deal_atoms(const Element (*runs)[kRun], size_t count, size_t column_stride,
                                              Element* column) {
    constexpr size_t kAtom = kAtomBytes / sizeof(Element);
    for (size_t i = 0; i < count; i += kAtom, column += column_stride) {
        for (size_t m = 0; m < kRows; ++m)
            std::memcpy(column + m * kAtom, &runs[m][i], kAtomBytes);
    }
}

template <size_t kRows, typename Lanes>
[[gnu::always_inline]] inline void store_group(const RowsToCube<typename Lanes::Element> rows,
                                               const float* factors) {
    using Element = typename Lanes::Element;
    constexpr size_t kAtom = kAtomBytes / sizeof(Element);
    Element runs[kRows][kRun];
    for (size_t k = 0; k < rows.K_padded; k += kRun) {
        const size_t count = std::min(kRun, rows.K_padded - k);
        for (size_t m = 0; m < kRows; ++m)
            convert_run<Lanes>(rows.x + m * rows.row_stride, factors[m], rows.K, k, count, runs[m]);
        deal_atoms<kRows>(runs, count, rows.M_total * kAtom,
                          rows.native + k * rows.M_total + rows.m0 * kAtom);
    }
}

// A cube of one row is the plain row. Otherwise groups of kRowGroup, where the loops have constant counts,
// and single rows at the edges.
template <typename Lanes>
[[gnu::always_inline]] inline void store_rows(const RowsToCube<typename Lanes::Element>& rows,
                                              const float* scales) {
    float factors[kRowGroup];
    for (size_t m = 0; m < rows.M; ++m)
        factors[m] = storing_factor(scales[m]);
    if (rows.M_total == 1 && rows.M == 1) {
        convert_run<Lanes>(rows.x, factors[0], rows.K, 0, rows.K_padded, rows.native);
    } else if (rows.M == kRowGroup) {
        store_group<kRowGroup, Lanes>(rows, factors);
    } else {
        for (size_t m = 0; m < rows.M; ++m)
            store_group<1, Lanes>(rows.part(m, 1), factors + m);
    }
}

}  // namespace

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

void store_rows_int8(const CubeWalk& rows, size_t M, const float* factors, bool fits, int32_t* totals) {
    lanes::store_rows_int8<FourLanes>(rows, M, factors, fits, totals);
}

void store_residuals_int8(const CubeWalk& rows, size_t M, const float* factors, int32_t* totals) {
    lanes::store_residuals_int8<FourLanes>(rows, M, factors, totals);
}

RKNPU2_CLONES void store_rows_fp16(const RowsToCube<uint16_t>& rows, const float* scales) {
    store_rows<HalfLanes>(rows, scales);
}

}  // namespace rknpu2::generic
